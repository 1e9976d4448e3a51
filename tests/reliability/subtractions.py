"""Subtractions for the tests of faults: an L0 store, and the L1 store that must come of it."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ingest_process import subtract
from nights import document
from support.stores import chunk_digests, read_arrays

from panoseti_zarr.daemon.state.events import Outcome
from panoseti_zarr.io.fs.failpoints import L1_STEPS, SWAP_STEPS
from panoseti_zarr.pipeline.l1 import l1_matches

BEFORE_SWAP = tuple(step for step in L1_STEPS if step != "l1.done")
AFTER_SWAP = (*SWAP_STEPS[1:], "l1.done")


def read_files(store: Path) -> dict[str, Any]:
    """Return the digest of every chunk of a store, and its documents without what varies."""
    paths = store.rglob("zarr.json")
    documents = {str(path.relative_to(store)): document(path) for path in paths}
    return documents | chunk_digests(store)


@dataclass(frozen=True)
class Subtraction:
    """A closed L0 store, and the L1 store that an undisturbed subtraction makes of it.

    Attributes
    ----------
    l0, undisturbed : Path
    old : Path, optional
        The L1 store that was made of an earlier commit, or with other settings, and still stands.
    """

    l0: Path
    undisturbed: Path
    old: Path | None = None

    @property
    def name(self) -> str:
        """Of the L1 store."""
        return self.undisturbed.name

    @cached_property
    def files(self) -> dict[str, Any]:
        """Of the L1 store that must come."""
        return read_files(self.undisturbed)

    def assert_new(self, l1_dir: Path, l0: Path | None = None) -> None:
        """Check that a reader finds the new store, whole and byte for byte, and that it matches."""
        assert read_files(l1_dir / self.name) == self.files
        assert "images" in read_arrays(l1_dir / self.name)
        assert l1_matches(l0 or self.l0, l1_dir / self.name)

    def assert_old(self, l1_dir: Path) -> None:
        """Check that a reader finds what was there before: the old store, whole, or none."""
        if self.old is None:
            assert not (l1_dir / self.name).exists()
        else:
            assert read_files(l1_dir / self.name) == read_files(self.old)
            assert "images" in read_arrays(l1_dir / self.name)

    def finish(self, l1_dir: Path, *, changes: bool) -> None:
        """Start again, undisturbed; check the end, that it was made once, and that all is clean."""
        ended = subtract(self.l0, l1_dir)
        assert (ended.outcome, ended.reason) == (Outcome.DONE, "")
        assert ended.is_changed == changes
        self.assert_new(l1_dir)
        assert set(os.listdir(l1_dir)) <= {self.name, f".{self.name}.lock"}
