"""Change notices between rescans: hints, on which nothing depends.

A root is watched for its children, a run that is not done for its files, neither below that.
Where inotify does not see what other machines do (network file systems), directories are polled.
Where the kernel's queue of notices overflowed, everything that is watched gets a hint.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyEmitter
from watchdog.observers.inotify_c import InotifyEvent, InotifyFD
from watchdog.observers.polling import PollingObserver

from panoseti_zarr.daemon.watch.mounts import mount_of

if TYPE_CHECKING:
    from watchdog.observers.api import ObservedWatch

MAX_RUN_WATCHES = 64
"""Runs that are watched at once; the rescan sees the others."""

_POLL_S = 5.0
# Neither reads, which are ours too, nor each write to a growing file.
_TELLING: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
]

Hint = Callable[[str, str | None], None]

_INOTIFY, _POLLING = "inotify", "polling"


class Watcher:
    """Watches roots and runs; not for several threads at once.

    Parameters
    ----------
    mode : str
        ``inotify``, ``polling`` or ``auto``.
    hint : callable
        Called from a watching thread with a root and the name of a run in it, or None.
    on_overflow : callable
        Called from a watching thread when notices were lost, before the hints that follow.
    """

    def __init__(
        self, mode: str, hint: Hint, on_overflow: Callable[[], None] = lambda: None
    ) -> None:
        self._mode = mode
        self._hint = hint
        self._on_overflow = on_overflow
        self._observers: dict[str, BaseObserver] = {}
        self._notices: _InotifyReader | None = None
        self._kinds: dict[str, str] = {}
        self._roots: dict[str, tuple[int, int, ObservedWatch]] = {}
        self._runs: dict[tuple[str, str], ObservedWatch | None] = {}
        """None where the watch is lost, and is to be made again."""

    def watch_root(self, root: str) -> None:
        """Watch a root, again where it is another directory than before or its watch has died.

        A new watch gives a hint at once, for what happened before it was there.

        Raises
        ------
        OSError
            It cannot be watched.
        """
        status = os.stat(root)
        identity = (status.st_dev, status.st_ino)
        observer = self._observer(root)
        is_known = root in self._roots and self._roots[root][:2] == identity
        if not is_known or not _is_watched(observer, self._roots[root][2]):
            if root in self._roots:
                _unschedule(observer, self._roots.pop(root)[2])
            self._roots[root] = (*identity, self._schedule(root, root))
            self._hint(root, None)
        for (place, run), watch in list(self._runs.items()):
            if place == root and (watch is None or not _is_watched(observer, watch)):
                self.unwatch_run(root, run)
                self.watch_run(root, run)

    def watch_run(self, root: str, run: str) -> None:
        """Watch a run directory, unless many are watched already; hints as `watch_root`.

        Raises
        ------
        OSError
            It cannot be watched.
        """
        if (root, run) not in self._runs and len(self._runs) < MAX_RUN_WATCHES:
            self._runs[root, run] = self._schedule(root, os.path.join(root, run))
            self._hint(root, run)

    def unwatch_run(self, root: str, run: str) -> None:
        """Watch a run directory no longer."""
        if watch := self._runs.pop((root, run), None):
            _unschedule(self._observer(root), watch)

    def close(self) -> None:
        """End all watching."""
        for observer in self._observers.values():
            observer.stop()
        if self._notices is not None:
            self._notices.stop()

    def kind_of(self, root: str) -> str:
        """Return how a root is watched: ``inotify`` or ``polling``, by its mount where `auto`."""
        if self._mode != "auto":
            return self._mode
        return _POLLING if mount_of(Path(root)).is_network else _INOTIFY

    def _schedule(self, root: str, path: str) -> ObservedWatch:
        handler = _Handler(root, self._hint)
        return self._observer(root).schedule(handler, path, event_filter=_TELLING)

    def _observer(self, root: str) -> BaseObserver:
        """Return the running observer for a root; one that has died is replaced."""
        kind = self.kind_of(root)
        if self._kinds.setdefault(root, kind) != kind:
            # Another file system was mounted there: its watches are the other observer's.
            self._forget(root)
            self._kinds[root] = kind
        observer = self._observers.get(kind)
        if observer is not None and not self._is_alive(kind, observer):
            observer.stop()
            for place in [place for place, its_kind in self._kinds.items() if its_kind == kind]:
                self._forget(place)
            observer = None
        if observer is None:
            observer = self._start(kind)
            self._observers[kind] = observer
        return observer

    def _start(self, kind: str) -> BaseObserver:
        observer: BaseObserver
        if kind == _POLLING:
            observer = PollingObserver(timeout=_POLL_S)
        else:
            if self._notices is not None:
                self._notices.stop()
            self._notices = _InotifyReader(self._overflown)
            self._notices.start()
            observer = BaseObserver(InotifyEmitter, inotify_fd=self._notices)
        observer.start()
        return observer

    def _is_alive(self, kind: str, observer: BaseObserver) -> bool:
        reads = kind == _POLLING or (self._notices is not None and self._notices.is_alive())
        return observer.is_alive() and reads

    def _forget(self, root: str) -> None:
        """Forget the watches of a root: they are made again when it is listed next."""
        observer = self._observers.get(self._kinds[root])
        watches = [self._roots.pop(root)[2]] if root in self._roots else []
        for key, watch in list(self._runs.items()):
            if key[0] == root:
                watches += [watch] if watch else []
                self._runs[key] = None
        if observer is not None and observer.is_alive():
            for watch in watches:
                _unschedule(observer, watch)

    def _overflown(self) -> None:
        """Have everything looked at by which notices were lost; in the watching thread."""
        self._on_overflow()
        for root, kind in tuple(self._kinds.items()):
            if kind == _INOTIFY:
                self._hint(root, None)
        for root, run in tuple(self._runs):
            self._hint(root, run)


class _InotifyReader(InotifyFD):
    """The kernel's queue of notices; watchdog itself only logs that it overflowed."""

    def __init__(self, on_overflow: Callable[[], None]) -> None:
        super().__init__()
        self._on_overflow = on_overflow

    def handle_event(self, event: InotifyEvent) -> None:
        """Pass a notice on, or report that others were lost."""
        if event.is_queue_overflow:
            self._on_overflow()
        else:
            super().handle_event(event)


class _Handler(FileSystemEventHandler):
    """Turns what happened in a root or a run into a hint."""

    def __init__(self, root: str, hint: Hint) -> None:
        super().__init__()
        self._root = root
        self._hint = hint

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Give a hint for each place that an event names."""
        for place in {os.fsdecode(event.src_path), os.fsdecode(event.dest_path or b"")}:
            if place:
                first = os.path.relpath(place, self._root).split(os.sep)[0]
                self._hint(self._root, first if first.endswith(".pffd") else None)


class HintCoalescer:
    """Passes each hint on once until it is acknowledged: floods of notices need no memory.

    Parameters
    ----------
    tell : callable
        As `Watcher` calls it.
    """

    def __init__(self, tell: Hint) -> None:
        self._tell = tell
        self._pending: set[tuple[str, str | None]] = set()
        self._lock = threading.Lock()

    def __call__(self, root: str, run: str | None) -> None:
        """Pass a hint on, unless the same one is not acknowledged yet."""
        with self._lock:
            if (root, run) in self._pending:
                return
            self._pending.add((root, run))
        self._tell(root, run)

    def acknowledge(self, root: str, run: str | None) -> None:
        """Note that a hint was handled: the same one is passed on again."""
        with self._lock:
            self._pending.discard((root, run))


def _is_watched(observer: BaseObserver, watch: ObservedWatch) -> bool:
    """Whether the thread that reads a watch's notices lives."""
    return any(emitter.watch == watch and emitter.is_alive() for emitter in observer.emitters)


def _unschedule(observer: BaseObserver, watch: ObservedWatch) -> None:
    try:
        observer.unschedule(watch)
    except KeyError:
        # The observer that had it has died.
        return
