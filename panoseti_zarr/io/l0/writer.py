"""The writer of an L0 store: one at a time, with commits that are whole or not at all.

What readers see is the committed count in the root ``zarr.json``. A commit renames staged chunks
into the store, then rewrites the arrays' documents, the root's last, each step durable before
the next. A crash at any moment leaves the last commit as it was, and `L0Writer` puts in order
what lies beyond it when it opens the store again. Nothing but Zarr lies inside a store: staged
chunks and temporary files are in ``L0_DIR/.staging/{store name}/``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from panoseti_zarr.errors import (
    CorruptDataError,
    InvariantError,
    StoreDamagedError,
    StoreLockedError,
    TransientIOError,
)
from panoseti_zarr.io.fs.durable import (
    make_directories,
    open_directory,
    recover_replace,
    remove_tree,
    replace_directory,
    sync_directory,
    sync_file,
    sync_tree,
    write_file,
)
from panoseti_zarr.io.fs.failpoints import reached
from panoseti_zarr.io.fs.locks import lock_directory, staging_lock, store_lock
from panoseti_zarr.io.l0.metadata import L0State, parse_state
from panoseti_zarr.io.l0.tasks import StagedChunk
from panoseti_zarr.io.zarr3.metadata import (
    ZARR_JSON,
    Json,
    chunk_path,
    encode,
    resized,
    root_document,
)
from panoseti_zarr.io.zarr3.shards import staged_path

STAGING = ".staging"


class L0Writer:
    """The one writer of an L0 store; made by `open_writer`.

    Attributes
    ----------
    path : Path
        Of the store, which may not be there yet: it appears with the first commit.
    staging : Path
        Where tasks stage its chunks.
    state : L0State or None
        As of the last commit.
    """

    def __init__(
        self, l0_dir: Path, name: str, cleanup: contextlib.ExitStack, *, beside: bool = False
    ) -> None:
        self._place = l0_dir / name
        self._hidden = l0_dir / f".{name}.rebuilt"
        self._aside = l0_dir / f".{name}.old"
        self.path = self._hidden if beside else self._place
        self.staging = l0_dir / STAGING / name
        self.state: L0State | None = None
        self._l0_dir = l0_dir
        self._cleanup = cleanup
        self._fd: int | None = None
        self._has_begun = False

    def recover(self) -> None:
        """Drop what was not committed (step 0 of the protocol)."""
        self.sweep()
        reached("recover.swept")
        try:
            self._enter(self.path)
        except FileNotFoundError:
            return
        try:
            state = self._read_root()
            # A crash may have come after a rename and before its sync: it was not reported yet.
            os.fsync(self._store_fd)
            sync_directory(self._l0_dir)
            self._restore_arrays(state)
            reached("recover.arrays_restored")
            self._remove_chunks_above(state)
            reached("recover.chunks_removed")
        except FileNotFoundError as error:
            raise StoreDamagedError(
                f"not a whole L0 store: {error.filename} is missing", path=str(self.path)
            ) from None
        self.state = state

    def begin(self) -> None:
        """Make the staging directory; to be called before anything is staged.

        It is locked, so that what is staged and what is half made is this writer's also where the
        lock file was deleted.
        """
        if not self._has_begun:
            self._cleanup.enter_context(staging_lock(self.staging))
            self._has_begun = True

    def sweep(self) -> None:
        """Leave nothing staged, no store half made, and none set aside."""
        with contextlib.suppress(FileNotFoundError), open_directory(self.staging) as fd:
            lock_directory(fd, self._place.name)
        # Out of the way of late tasks first: they would add to what is being removed.
        swept = self.staging.with_name(f".{self.staging.name}.swept")
        remove_tree(swept)
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.staging, swept)
        remove_tree(swept)
        with contextlib.suppress(OSError):
            self.staging.parent.rmdir()
        remove_tree(self._new_path)
        recover_replace(self._place, self._aside, self._hidden)

    def leave(self) -> None:
        """Sweep at the end; what cannot be swept now is swept by the next start."""
        with contextlib.suppress(OSError, StoreLockedError):
            self.sweep()

    def swap_into_place(self) -> None:
        """Put a store that was written beside its place there, and remove what was there.

        Raises
        ------
        TransientIOError
            The file system failed.
        """
        try:
            replace_directory(self.path, self._place, self._aside)
        except OSError as error:
            raise TransientIOError(
                f"taking the store's place failed: {error.strerror}", path=str(self._place)
            ) from None

    def commit(
        self, staged: Sequence[StagedChunk], n_frames: int, attributes: Json, documents: Json
    ) -> L0State:
        """Commit staged chunks, in the order of chunks, up to ``n_frames``.

        Parameters
        ----------
        staged : sequence of StagedChunk
            May be empty, for a close.
        n_frames : int
            Frames that readers see afterwards.
        attributes : dict
            The root attributes, with ``commit`` one above the state's.
        documents : dict
            Of every array and group; the shapes are set here.

        Raises
        ------
        TransientIOError
            The file system failed, or the store is no longer the one that was planned for. What
            is there is as it was at the last commit.
        """
        documents = {
            path: resized(document, n_frames) if document["node_type"] == "array" else document
            for path, document in documents.items()
        }
        root = encode(root_document(attributes, documents))
        try:
            if self.state is None:
                self._create(staged, documents, root)
            else:
                self._check_fence(self.state)
                reached("commit.checked")
                self._advance(staged, documents, root)
            self.state = parse_state(root, str(self.path))
            for chunk in staged:
                remove_tree(self.staging / chunk.attempt)
        except FileNotFoundError:
            raise TransientIOError(
                "the store was moved or deleted while it was written", path=str(self.path)
            ) from None
        except OSError as error:
            raise TransientIOError(
                f"committing failed: {error.strerror}", path=str(self.path)
            ) from None
        return self.state

    @property
    def _new_path(self) -> Path:
        return self._l0_dir / f".{self._place.name}.new"

    def _enter(self, path: Path) -> None:
        self._fd = self._cleanup.enter_context(open_directory(path))
        lock_directory(self._fd, self.path.name)

    def _read_root(self) -> L0State:
        return parse_state(self._read(ZARR_JSON), str(self.path))

    def _read(self, path: str) -> bytes:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._store_fd)
        with open(fd, "rb") as file:
            return file.read()

    @property
    def _store_fd(self) -> int:
        if self._fd is None:
            raise InvariantError("the store is not open", path=str(self.path))
        return self._fd

    def _check_fence(self, state: L0State) -> None:
        held = self._read_root()
        if (held.store_id, held.commit) != (state.store_id, state.commit):
            raise TransientIOError("the store was changed by another writer", path=str(self.path))
        there = os.stat(self.path, follow_symlinks=False)
        if not os.path.samestat(there, os.fstat(self._store_fd)):
            raise TransientIOError("the store was replaced by another", path=str(self.path))

    def _restore_arrays(self, state: L0State) -> None:
        """Set every array's document to the last commit, where a crash left it ahead."""
        for path, document in state.documents.items():
            wanted = encode(document)
            if self._read(f"{path}/{ZARR_JSON}") != wanted:
                self._replace({f"{path}/{ZARR_JSON}": wanted})
                sync_directory(path, dir_fd=self._store_fd)

    def _remove_chunks_above(self, state: L0State) -> None:
        n_chunks = -(-state.n_frames // state.time_chunk)
        for path in state.array_documents:
            with contextlib.ExitStack() as stack:
                try:
                    chunks = stack.enter_context(open_directory(f"{path}/c", dir_fd=self._store_fd))
                except FileNotFoundError:
                    if n_chunks:
                        raise
                    continue
                for name in os.listdir(chunks):
                    if not (name.isdecimal() and int(name) < n_chunks):
                        _remove_at(name, chunks)

    def _create(self, staged: Sequence[StagedChunk], documents: Json, root: bytes) -> None:
        """Make the whole store under a hidden name, then let it appear."""
        os.mkdir(self._new_path)
        self._enter(self._new_path)
        reached("create.begun")
        for path, document in documents.items():
            make_directories(path, dir_fd=self._store_fd)
            write_file(f"{path}/{ZARR_JSON}", encode(document), dir_fd=self._store_fd)
        self._move_chunks(staged, documents)
        write_file(ZARR_JSON, root, dir_fd=self._store_fd)
        reached("create.written")
        sync_tree(self._new_path)
        reached("create.durable")
        os.rename(self._new_path, self.path)
        reached("create.renamed")
        sync_directory(self._l0_dir)
        reached("create.done")

    def _advance(self, staged: Sequence[StagedChunk], documents: Json, root: bytes) -> None:
        touched = self._move_chunks(staged, documents)
        reached("commit.chunks_moved")
        for directory in touched:
            sync_directory(directory, dir_fd=self._store_fd)
        reached("commit.chunks_durable")
        arrays = [p for p, document in documents.items() if document["node_type"] == "array"]
        self._replace({f"{path}/{ZARR_JSON}": encode(documents[path]) for path in arrays})
        reached("commit.arrays_replaced")
        for path in arrays:
            sync_directory(path, dir_fd=self._store_fd)
        reached("commit.arrays_durable")
        self._replace({ZARR_JSON: root})
        reached("commit.root_replaced")
        os.fsync(self._store_fd)
        reached("commit.done")

    def _move_chunks(self, staged: Sequence[StagedChunk], documents: Json) -> list[str]:
        """Rename staged chunks into the store; return the directories touched, deepest first."""
        touched: set[str] = set()
        for chunk in staged:
            for array, document in documents.items():
                if document["node_type"] != "array":
                    continue
                path = chunk_path(array, chunk.plan.index, len(document["shape"]))
                parent = os.path.dirname(path)
                make_directories(parent, dir_fd=self._store_fd)
                source = staged_path(str(self.staging / chunk.attempt), array)
                os.rename(source, path, dst_dir_fd=self._store_fd)
                while parent != array:
                    touched.add(parent)
                    parent = os.path.dirname(parent)
        return sorted(touched, key=lambda path: -path.count("/"))

    def _replace(self, files: Mapping[str, bytes]) -> None:
        """Replace files of the store, each in one rename; their directories are not synced yet.

        All are written before the first is synced: one journal commit then serves them all.
        """
        self.begin()
        folder = self.staging / "documents"
        folder.mkdir(exist_ok=True)
        temporaries = {path: folder / str(place) for place, path in enumerate(files)}
        for path, data in files.items():
            write_file(temporaries[path], data)
        for temporary in temporaries.values():
            sync_file(temporary)
        for path, temporary in temporaries.items():
            os.rename(temporary, path, dst_dir_fd=self._store_fd)


@contextlib.contextmanager
def open_writer(l0_dir: Path, name: str, *, beside: bool = False) -> Iterator[L0Writer]:
    """Lock an L0 store, put it in order, and give its writer.

    Parameters
    ----------
    l0_dir : Path
    name : str
        Of the store.
    beside : bool
        Write a new store under a hidden name instead; `L0Writer.swap_into_place` swaps it in.

    Raises
    ------
    StoreLockedError
        Another process writes it.
    CorruptDataError
        It is damaged.
    InputError
        Something else has its name.
    TransientIOError
        The file system failed.
    """
    with contextlib.ExitStack() as cleanup:
        try:
            cleanup.enter_context(store_lock(l0_dir, name))
            writer = L0Writer(l0_dir, name, cleanup, beside=beside)
            cleanup.callback(writer.leave)
            writer.recover()
        except NotADirectoryError as error:
            raise CorruptDataError(
                f"what has the store's name is no directory: {error.strerror}",
                path=str(l0_dir / name),
            ) from None
        except OSError as error:
            raise TransientIOError(
                f"cannot open the store for writing: {error.strerror}", path=str(l0_dir / name)
            ) from None
        yield writer


def _remove_at(name: str, dir_fd: int) -> None:
    try:
        os.unlink(name, dir_fd=dir_fd)
    except IsADirectoryError:
        shutil.rmtree(name, dir_fd=dir_fd)
