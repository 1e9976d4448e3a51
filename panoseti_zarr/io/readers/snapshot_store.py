"""One commit of a store, for zarr-python to read: the commit's documents, and chunks or errors.

zarr-python takes a chunk that is missing for fill values, and a store that took the place of the
one that was opened for that one. Here both are errors.
"""

from __future__ import annotations

import os
from pathlib import Path

from zarr.abc.buffer import Buffer, BufferPrototype
from zarr.abc.store import ByteRequest, RangeByteRequest
from zarr.storage import LocalStore, WrapperStore

from panoseti_zarr.errors import InputError, StoreDamagedError, StoreReplacedError
from panoseti_zarr.io.readers.root import parse_root
from panoseti_zarr.io.zarr3.metadata import ZARR_JSON, Json

_HEADERS = "headers/"


class SnapshotStore(WrapperStore[LocalStore]):
    """A store at one commit; read-only.

    The root ``zarr.json`` is read once, here, and is what readers get: attributes and every
    array's length are those of one commit.

    Parameters
    ----------
    path : Path
        An L0 or L1 store.

    Raises
    ------
    FileNotFoundError
        There is no store.
    InputError
        It cannot be read, or is not one of ours.
    CorruptDataError
        Its root document is not whole.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(LocalStore(path, read_only=True))
        self.path = path
        try:
            self._stamp = self._look()
            self._root = self._read_root()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise InputError(f"cannot read the store: {error.strerror}", path=str(path)) from None
        _, self._document = parse_root(self._root, path)

    @property
    def header_fields(self) -> dict[str, str]:
        """Paths of the header fields' arrays, by flat name: ``quabo_0_pkt_num``, ``pkt_num``."""
        members = self._document["consolidated_metadata"]["metadata"]
        return {
            path.removeprefix(_HEADERS).replace("/", "_"): path
            for path, member in members.items()
            if path.startswith(_HEADERS) and member["node_type"] == "array"
        }

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read a stored object, or a part of it.

        Raises
        ------
        CorruptDataError
            It is a chunk and missing, or shorter than asked for.
        """
        if key == ZARR_JSON and byte_range is None:
            return prototype.buffer.from_bytes(self._root)
        data = await super().get(key, prototype, byte_range)
        if "/c/" in key:
            path = str(self.path / key)
            if data is None:
                raise StoreDamagedError("a chunk is missing", path=path)
            if isinstance(byte_range, RangeByteRequest):
                n_missing = byte_range.end - byte_range.start - len(data)
                if n_missing:
                    raise StoreDamagedError("a chunk is too short", path=path)
        return data

    def check_not_replaced(self) -> None:
        """Check that the store's path still leads to the store that was opened.

        What was read before is then of that store. Costs one ``stat``, and after a commit one
        reading of the root document.

        Raises
        ------
        StoreReplacedError
            It leads to another.
        OSError
            It leads to none, or that cannot be determined.
        """
        stamp = self._look()
        if stamp == self._stamp:
            return
        root = self._read_root()
        _, document = parse_root(root, self.path)
        if _identity(document, root) != _identity(self._document, self._root):
            raise StoreReplacedError(
                "another store took the place of the one that was opened: refresh() opens it",
                path=str(self.path),
            )
        self._stamp = stamp

    def _look(self) -> tuple[int, int, int]:
        there = os.stat(self.path / ZARR_JSON)
        return there.st_ino, there.st_mtime_ns, there.st_size

    def _read_root(self) -> bytes:
        return (self.path / ZARR_JSON).read_bytes()


def _identity(document: Json, root: bytes) -> str | bytes:
    """Return what no commit changes: an L0 store has an id, an L1 store is never written again."""
    store_id: str | None = document["attributes"].get("store_id")
    return store_id or root
