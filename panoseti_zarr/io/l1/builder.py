"""Builds an L1 store beside its place, and moves it there whole.

The coordinator alone writes in the new store, ``L1_DIR/.{name}.new``; tasks stage what they make in
``L1_DIR/.{name}.staging``, each execution in a folder of its own, so one that ends late harms
nothing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from panoseti_zarr.errors import (
    CorruptDataError,
    InputError,
    StoreLockedError,
    TransientIOError,
    is_missing,
)
from panoseti_zarr.io.fs.durable import (
    ensure_directory,
    recover_replace,
    remove_tree,
    replace_directory,
    sync_directory,
    sync_file,
    walk_bottom_up,
    write_file,
)
from panoseti_zarr.io.fs.failpoints import reached
from panoseti_zarr.io.fs.locks import store_lock
from panoseti_zarr.io.l1.metadata import BASELINE, is_l1_store
from panoseti_zarr.io.zarr3.metadata import ZARR_JSON, Json, chunk_path, encode, root_document
from panoseti_zarr.io.zarr3.shards import staged_path


@dataclass(frozen=True)
class StagedL1Chunk:
    """A chunk that is written and durable in the folder of its attempt.

    Attributes
    ----------
    index : int
        Of the chunk along time.
    attempt : str
        Name of the folder in the staging directory.
    """

    index: int
    attempt: str


class L1Builder:
    """Builds one L1 store; made by `open_builder`.

    Attributes
    ----------
    path : Path
        Where the store will be.
    new_path : Path
        Where it is built.
    staging : Path
        Where tasks put what they make.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.new_path = path.with_name(f".{path.name}.new")
        self.staging = path.with_name(f".{path.name}.staging")
        self._aside = path.with_name(f".{path.name}.old")
        self._hidden = (self._aside, self.new_path, self.staging)
        self._documents: dict[str, Json] = {}

    def sweep(self) -> None:
        """Remove what an earlier or this builder left; put back a store that was set aside."""
        recover_replace(self.path, *self._hidden)

    def has_leftovers(self) -> bool:
        """Say whether a builder that was killed left anything, or one is at work."""
        return any(os.path.lexists(path) for path in self._hidden)

    def create(self, documents: dict[str, Json]) -> None:
        """Make the new store's arrays and groups, without chunks and without its root document."""
        self._documents = documents
        for path, document in documents.items():
            (self.new_path / path).mkdir(parents=True, exist_ok=True)
            write_file(self.new_path / path / ZARR_JSON, encode(document))
        reached("l1.created")

    def add_chunk(self, staged: StagedL1Chunk, arrays: list[str]) -> None:
        """Move a staged chunk of some arrays into the new store."""
        reached("l1_chunk.staged")
        folder = self.staging / staged.attempt
        for array in arrays:
            target = self.new_path / _chunk_path(array, staged.index)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(staged_path(str(folder), array), target)
        remove_tree(folder)
        reached("l1_chunk.moved")

    def publish(self, attributes: Json) -> int:
        """Make the new store durable and put it in its place; return its size in bytes."""
        root = encode(root_document(attributes, self._documents))
        write_file(self.new_path / ZARR_JSON, root)
        reached("l1.root_written")
        n_bytes = _sync_new(self.new_path)
        reached("l1.durable")
        check_replaceable(self.path)
        replace_directory(self.new_path, self.path, self._aside)
        reached("l1.done")
        return n_bytes


@contextlib.contextmanager
def open_builder(path: Path) -> Iterator[L1Builder]:
    """Lock an L1 store's place, clear it of leftovers, and give its builder.

    Raises
    ------
    InputError
        Something is there that is not an L1 store of ours.
    StoreLockedError
        Another process makes it.
    TransientIOError
        The file system failed.
    """
    check_replaceable(path)
    builder = L1Builder(path)
    with contextlib.ExitStack() as cleanup:
        try:
            ensure_directory(path.parent)
            cleanup.enter_context(store_lock(path.parent, path.name))
            builder.sweep()
            reached("l1.swept")
            builder.staging.mkdir()
            reached("l1.begun")
        except OSError as error:
            raise TransientIOError(
                f"cannot make the L1 store here: {error.strerror}", path=str(path)
            ) from None
        cleanup.callback(_sweep_quietly, builder)
        yield builder


def recover_killed(path: Path) -> None:
    """Do what a builder that was killed after it put the store in its place left undone.

    Until all is durable and clean, a hidden directory remains beside the store.

    Parameters
    ----------
    path : Path
        Of an L1 store. Its name is made durable; hidden leftovers beside it are removed.

    Raises
    ------
    TransientIOError
        The file system failed.
    """
    if L1Builder(path).has_leftovers():
        # One that is at work clears up itself.
        with contextlib.suppress(StoreLockedError), open_builder(path):
            pass


def check_replaceable(path: Path) -> None:
    """Refuse to replace what is not an L1 store of ours.

    Raises
    ------
    InputError
        When there is something else.
    TransientIOError
        When it cannot be read at present.
    """
    if os.path.lexists(path) and not is_l1_store(path):
        _check_readable(path)
        raise InputError(
            "not an L1 store of panoseti-zarr is there: it is not replaced", path=str(path)
        )


def _check_readable(path: Path) -> None:
    """Do not take for another's what a failing disk does not show."""
    try:
        (path / ZARR_JSON).read_bytes()
    except OSError as error:
        if not is_missing(error):
            raise TransientIOError(
                f"cannot read the L1 store: {error.strerror}", path=str(path)
            ) from None


def copy_chunks(store: str, folder: str, arrays: Iterable[str], index: int) -> None:
    """Copy the stored bytes of a chunk of some arrays into a staging folder.

    Raises
    ------
    CorruptDataError
        A chunk is not there.
    """
    for array in arrays:
        path = _chunk_path(array, index)
        try:
            shutil.copyfile(f"{store}/{path}", staged_path(folder, array))
        except FileNotFoundError:
            raise CorruptDataError(f"chunk {path} is missing", path=store) from None
    reached("l1_chunk.written")


def new_attempt(staging: str) -> tuple[str, str]:
    """Return the random name of a new folder in a staging directory, and its path."""
    attempt = uuid.uuid4().hex
    return attempt, os.path.join(staging, attempt)


def _chunk_path(array: str, index: int) -> str:
    return chunk_path(array, index, 3 if array == "images" else 1)


def _sync_new(root: Path) -> int:
    """Make a new store durable; return its size, bytes.

    Staged chunks are durable already, but for their names.
    """
    n_bytes = 0
    for directory, names in walk_bottom_up(root):
        for name in names:
            path = os.path.join(directory, name)
            n_bytes += os.path.getsize(path)
            if name == ZARR_JSON or BASELINE in Path(directory).relative_to(root).parts:
                sync_file(path)
        sync_directory(directory)
    return n_bytes


def _sweep_quietly(builder: L1Builder) -> None:
    # What cannot be removed now is removed at the next start.
    with contextlib.suppress(OSError):
        builder.sweep()
