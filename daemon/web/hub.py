"""The clients of the status page and its current content; lives in the server's thread."""

from __future__ import annotations

import asyncio
import secrets
import time
from pathlib import Path

from panoseti_zarr.daemon.web.assets import PageFile, load_files
from panoseti_zarr.daemon.web.disk_threads import run_in_thread
from panoseti_zarr.daemon.web.quicklook_images import Pictures, list_pictures, read_picture
from panoseti_zarr.daemon.web.versioned_view import VersionedView

MAX_READERS = 20
"""Pages that are open at once."""

_MAX_READS = 4
_DISK_S = 10.0
_WATCHED_S = 60.0


class ClientHub:
    """The board, its readers, and the quick-look images.

    Parameters
    ----------
    pictures_dir : Path
        Where quick-look images are, if any.

    Attributes
    ----------
    epoch : str
        Of this process: versions of another one mean nothing here.
    alive_s : float
        Monotonic time of the service's last heartbeat.
    is_closing : bool
        Readers get what is new once more, and then the end.
    """

    def __init__(self, pictures_dir: Path) -> None:
        self.board = VersionedView()
        self.epoch = secrets.token_hex(4)
        self.files: dict[str, PageFile] = load_files()
        self.pictures = Pictures()
        self.alive_s = time.monotonic()
        self.is_closing = False
        self._pictures_dir = pictures_dir
        self._readers: set[asyncio.Event] = set()
        self._reads = asyncio.Semaphore(_MAX_READS)
        self._asked_s = -_WATCHED_S

    @property
    def is_watched(self) -> bool:
        """Whether a client has the page open, or had a moment ago."""
        return bool(self._readers) or time.monotonic() - self._asked_s < _WATCHED_S

    def asked(self) -> None:
        """Note a request."""
        self._asked_s = time.monotonic()

    def silent_s(self) -> float:
        """Return for how many seconds the service's loop sent no heartbeat."""
        return time.monotonic() - self.alive_s

    def enter(self, news: asyncio.Event) -> bool:
        """Let a reader in, to receive updates; False where there are too many."""
        if len(self._readers) >= MAX_READERS or self.is_closing:
            return False
        self._readers.add(news)
        return True

    def leave(self, news: asyncio.Event) -> None:
        """Let a reader go."""
        self._readers.discard(news)

    def wake(self) -> None:
        """Tell all readers that there is news."""
        for news in self._readers:
            news.set()

    async def empty(self, timeout_s: float) -> None:
        """Let all readers go, with what is new; for so long at most."""
        self.is_closing = True
        self.wake()
        deadline_s = time.monotonic() + timeout_s
        while self._readers and time.monotonic() < deadline_s:
            await asyncio.sleep(0.02)

    def known_to(self, event_id: str) -> int:
        """Return the version that a reader knows by the ID of its last event; 0 for none."""
        epoch, _, version = event_id.partition(".")
        is_ours = epoch == self.epoch and version.isascii() and version.isdigit()
        known = int(version[:18]) if is_ours else 0
        return known if known <= self.board.version else 0

    async def look_for_pictures(self) -> bool:
        """List the quick-look images again; return whether they changed."""
        known = self.pictures
        try:
            async with self._reads:
                found = await run_in_thread(
                    lambda: list_pictures(self._pictures_dir, known), _DISK_S
                )
        except TimeoutError:
            return False
        self.pictures = found
        return found != known

    async def picture(self, name: str) -> bytes | None:
        """Return an image that is listed, None if it is missing."""
        if name not in self.pictures.names:
            return None
        try:
            async with self._reads:
                return await run_in_thread(lambda: read_picture(self._pictures_dir, name), _DISK_S)
        except TimeoutError:
            return None
