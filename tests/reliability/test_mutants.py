"""The mutants can be made: what they change stands in the code as they expect."""

from pathlib import Path

import pytest
from mutants import MUTANTS

import panoseti_zarr

ROOT = Path(panoseti_zarr.__file__).parents[1]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_can_be_made(mutant):
    """Each text that a mutant replaces is in its file once; `mutants` then sees it caught."""
    for file, text, instead in mutant.edits:
        assert (ROOT / file).read_text().count(text) == 1
        assert instead != text
