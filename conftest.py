"""What the docstrings' examples find: a simulated run in the working directory."""

from __future__ import annotations

import doctest
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest

from panoseti_zarr.io.simulate import RunPlan, StreamPlan, simulate_run


@pytest.fixture(autouse=True)
def _run_of_the_examples(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let an example that names the run find it, in a directory of its own."""
    example = getattr(request.node, "dtest", None)
    if not isinstance(example, doctest.DocTest) or ".pffd" not in (example.docstring or ""):
        yield
        return
    root: Path = request.getfixturevalue("tmp_path")
    streams = (StreamPlan("img16", 1, 1000), StreamPlan("ph256", 1, 300))
    simulate_run(root, RunPlan(streams))
    with chdir(root):
        yield
