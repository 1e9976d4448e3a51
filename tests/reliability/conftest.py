"""What the tests of faults share: options, and places that are cleaned up."""

import shutil
import tempfile
from pathlib import Path

import pytest
from nights import make_night


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=40, help="random kills of `convert` (count)")
    parser.addoption("--long", action="store_true", help="also the tests that take minutes")


@pytest.fixture(scope="session")
def memory_dir(tmp_path_factory):
    """A directory in memory, where an fsync costs nothing: for what dies with the process only."""
    memory = Path("/dev/shm")  # noqa: S108 - a directory of this session's own is made there
    if not memory.is_dir() or shutil.disk_usage(memory).free < 1e9:
        yield tmp_path_factory.mktemp("memory")
        return
    made = tempfile.mkdtemp(prefix="panoseti-zarr-", dir=memory)
    yield Path(made)
    shutil.rmtree(made)


@pytest.fixture
def place(memory_dir):
    """An empty directory in memory, for one test."""
    made = tempfile.mkdtemp(dir=memory_dir)
    yield Path(made)
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def night(memory_dir):
    """A run of three files and seven chunks; chunks span files, and the last is partial."""
    return make_night(memory_dir / "night")


_COUNTS = {}


@pytest.fixture
def count(request):
    """A function that notes how often something was done; the counts stand at the end."""

    def note(**numbers):
        _COUNTS[request.node.name] = numbers

    return note


def pytest_terminal_summary(terminalreporter):
    for name, numbers in _COUNTS.items():
        words = ", ".join(f"{what} {number}" for what, number in numbers.items())
        terminalreporter.write_line(f"{name}: {words}")
