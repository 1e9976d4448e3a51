"""The generated parts of the documentation are what the code says: ``make generate``."""

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = runpy.run_path(str(DOCS / "generate.py"))["pages"]()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_is_up_to_date(path):
    """Run ``make generate`` after a change of the configuration, the events or the status."""
    assert path.read_text() == PAGES[path]
