"""What the tests of faults share: options, and places that are cleaned up."""

import shutil
import tempfile
from pathlib import Path

import pytest
from ingest_process import subtract
from nights import SETTINGS, make_night
from subtractions import Subtraction
from support.stores import ingest


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=30, help="random kills of `run` (count)")
    parser.addoption("--long", action="store_true", help="also the tests that take minutes")


@pytest.fixture(scope="session")
def memory_dir(tmp_path_factory):
    """A directory in memory, where an fsync costs nothing: for what dies with the process only."""
    memory = Path("/dev/shm")  # noqa: S108 - a directory of this test run's own is made there
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


@pytest.fixture(scope="session")
def first_l1(memory_dir):
    """No L1 store yet, of a product whose headers lie in groups; three chunks."""
    night = make_night(memory_dir / "l1_first", product="img16", n_frames=20, files_of=7)
    l1_dir = memory_dir / "l1_first/l1"
    subtract(night.undisturbed, l1_dir)
    return Subtraction(night.undisturbed, next(l1_dir.glob("*.zarr")))


@pytest.fixture(scope="session")
def remade_l1(memory_dir, night):
    """An L1 store that was made when the run had its first file; the L0 store opened again."""
    root = memory_dir / "l1_remake"
    root.mkdir()
    l0 = ingest(night.first_file, root / "l0", SETTINGS).store_path
    subtract(l0, root / "old")
    ingest(night.run, root / "l0", SETTINGS)
    subtract(l0, root / "new")
    name = next((root / "new").glob("*.zarr")).name
    return Subtraction(l0, root / "new" / name, old=root / "old" / name)


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
