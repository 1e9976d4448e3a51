"""What a recorded process left to chance: system calls replayed on a model of a disk.

`record` gives the words that put ``strace`` before a command, `replay` what the recording broke
of the rules of durability. The model is the strict one of POSIX: a file's content is durable
after fsync of the file, its name after fsync of the directory; the file systems in use promise
more, and would hide a missing call.
"""

import os
import re
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest
from support.needs import need

WRITES = ("write", "pwrite64", "writev", "pwritev", "ftruncate")
MAKES = ("mkdir", "mkdirat")
REMOVES = ("unlink", "unlinkat", "rmdir")
RENAMES = ("rename", "renameat", "renameat2")
SYNCS = ("fsync", "fdatasync")
OPENS = ("open", "openat", "creat")
CALLS = (*WRITES, *MAKES, *REMOVES, *RENAMES, *SYNCS, *OPENS)

_WHOLE = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\d+|\?)")
_BEGUN = re.compile(r"^(\d+) +(\w+)\((.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (-?\d+|\?)")
_NAME = re.compile(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')
_DESCRIPTOR = re.compile(r"^(\d+)<([^>]*)>")


def require_strace():
    """Skip the test where the system calls of a process cannot be seen or failed."""
    need("strace")
    tried = subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], check=False)
    if tried.returncode:
        pytest.skip("processes may not be traced here")


def record(trace: Path) -> tuple[str, ...]:
    """Return the words before a command that record it."""
    return ("strace", "-f", "-y", "-qq", "-s", "64", "-o", str(trace), "-e",
            "trace=" + ",".join(f"?{call}" for call in CALLS))  # fmt: skip


def kill_at_sync(path: Path, when: int) -> tuple[str, ...]:
    """Return the words before a command that is killed at the n-th fsync of a path."""
    return ("strace", "-f", "-qq", "-o", "/dev/null", "-P", str(path), "-e", "trace=fsync",
            "-e", f"inject=fsync:signal=SIGKILL:when={when}")  # fmt: skip


@dataclass(frozen=True)
class Call:
    """A system call: its text, and the lines of the recording where it began and ended."""

    name: str
    text: str
    begun: int
    ended: int

    @cached_property
    def paths(self) -> list[str]:
        """The paths that it names."""
        return [os.path.join(base, name) for base, name in _NAME.findall(self.text)]

    @cached_property
    def file(self) -> str:
        """The path of the descriptor that comes first."""
        found = _DESCRIPTOR.match(self.text)
        return found[2] if found else ""

    @property
    def is_told(self) -> bool:
        """Whether somebody is told what is done."""
        return self.name == "write" and self.text.startswith("1<")


def read_calls(trace: Path) -> list[Call]:
    """Return the calls of a recording that succeeded."""
    found = []
    open_calls: dict[tuple[str, str], tuple[str, int]] = {}
    for number, line in enumerate(trace.read_text(errors="replace").splitlines()):
        if begun := _BEGUN.match(line):
            open_calls[begun[1], begun[2]] = (begun[3], number)
            continue
        if resumed := _RESUMED.match(line):
            text, first = open_calls.pop((resumed[1], resumed[2]))
            name, text, result = resumed[2], text + resumed[3], resumed[4]
        elif whole := _WHOLE.match(line):
            name, text, result, first = whole[2], whole[3], whole[4], number
        else:
            continue
        if result != "?" and int(result) >= 0:
            found.append(Call(name, text, first, number))
    return found


@dataclass
class Disk:
    """What a power cut could still take: contents, and names by their directory."""

    contents: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)

    def write(self, path: str) -> None:
        self.contents.add(path)

    def make(self, path: str) -> None:
        if path not in self.known:
            self.known.add(path)
            self.names.add(path)

    def remove(self, path: str) -> None:
        self.contents.discard(path)
        self.known.discard(path)
        self.names.add(path)

    def sync(self, path: str) -> None:
        self.contents.discard(path)
        self.names -= {name for name in self.names if os.path.dirname(name) == path}

    def rename(self, old: str, new: str, *, exchange: bool = False) -> None:
        for paths in (self.contents, self.names, self.known):
            moved = {path for path in paths if is_below(path, old)}
            replaced = {path for path in paths if is_below(path, new)}
            paths.difference_update(moved, replaced)
            paths.update(new + path[len(old) :] for path in moved)
            if exchange:
                paths.update(old + path[len(new) :] for path in replaced)
        self.names |= {old, new}

    def unsynced(self, root: str) -> set[str]:
        """Return what is not durable at and below a path, its own name not counted."""
        found = {path for path in self.contents | self.names if is_below(path, root)}
        return found if root in self.contents else found - {root}


def is_below(path: str, root: str) -> bool:
    """Whether a path is another, or lies below it."""
    return path == root or path.startswith(root + "/")


def replay(
    calls: Sequence[Call], store: Path, *, renamed_before: Collection[str] = ()
) -> list[str]:
    """Return, one line each, where a recording broke the rules of durability.

    Parameters
    ----------
    calls : sequence of Call
        Of a process that tells each commit, and its end, on stdout.
    store : Path
        The L0 or L1 store that it wrote.
    renamed_before : collection of str
        What a process that was killed before it had renamed into place: it may not be durable.
    """
    replayed = _Replay(str(store), renamed_before)
    for call in _in_order_of_effect(calls):
        replayed.take(call)
    return [line.replace(str(store.parent), "DIR") for line in replayed.broken]


class _Replay:
    """A disk that a recorded process works on, and the rules that it broke."""

    def __init__(self, store: str, renamed_before: Collection[str]) -> None:
        self.broken: list[str] = []
        self._store = store
        self._l0_dir = os.path.dirname(store)
        self._root = f"{store}/zarr.json"
        self._disk = Disk()
        self._root_stands = False
        self._replaced = ""
        """How the names of what the store took the place of begin."""
        if renamed_before:
            self._disk.known.add(store)
            self._disk.names.update(renamed_before)
            self._replaced = os.path.join(self._l0_dir, f".{os.path.basename(store)}")

    def take(self, call: Call) -> None:
        """Check a call, and do to the disk what it does."""
        if call.name in RENAMES:
            old, new = call.paths
            self._check_rename(old, new)
            self._disk.rename(old, new, exchange="RENAME_EXCHANGE" in call.text)
        elif call.name in SYNCS:
            self._disk.sync(call.file)
        elif call.is_told:
            left = self._disk.unsynced(self._store) | (self._disk.names & {self._store})
            self._note(f"not durable when {call.text} was told", left)
            self._root_stands = False
        elif call.name in WRITES and is_below(call.file, self._l0_dir):
            self._disk.write(call.file)
        elif call.name in MAKES or (call.name in OPENS and "O_CREAT" in call.text):
            self._disk.make(call.paths[0])
            if "O_TRUNC" in call.text:
                self._disk.write(call.paths[0])
        elif call.name in REMOVES:
            if self._replaced and call.paths[0].startswith(self._replaced):
                left = self._disk.names & {self._store}
                self._note(f"not durable when {call.paths[0]} is removed", left)
            self._disk.remove(call.paths[0])

    def _check_rename(self, old: str, new: str) -> None:
        disk = self._disk
        if new == self._root:
            left = disk.unsynced(self._store) - {self._root} | disk.unsynced(old)
            self._note("not durable when the root is replaced", left)
            self._root_stands = True
        elif new == self._store:
            self._note("not durable when the store appears", disk.unsynced(old))
            self._root_stands = True
            self._replaced = old
        elif is_below(new, self._store):
            self._note("renamed into the store before its sync", disk.contents & {old})
            self._note("renamed into the store after the root", {new} if self._root_stands else ())

    def _note(self, rule: str, paths: Collection[str]) -> None:
        self.broken += [f"{rule}: {path}" for path in sorted(paths)]


def renamed_between_tellings(calls: Sequence[Call], store: Path) -> list[list[str]]:
    """Return the files of the store that were renamed into place before each telling."""
    found: list[list[str]] = [[]]
    for call in _in_order_of_effect(calls):
        if call.is_told:
            found.append([])
        elif call.name in RENAMES and is_below(call.paths[1], str(store)):
            found[-1].append(os.path.relpath(call.paths[1], store))
    return found


def _in_order_of_effect(calls: Sequence[Call]) -> list[Call]:
    """Order calls so that no rule is kept by chance.

    A rename counts from its begin, a sync from its end, a write at both.
    """
    moments = []
    for call in calls:
        if call.name in RENAMES:
            moments.append((call.begun, call))
        elif call.name in WRITES and not call.is_told:
            moments += [(call.begun, call), (call.ended, call)]
        elif call.is_told:
            moments.append((call.begun, call))
        else:
            moments.append((call.ended, call))
    return [call for _, call in sorted(moments, key=lambda moment: moment[0])]
