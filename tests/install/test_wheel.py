"""The wheel: what it installs, and that other packages stay as they are beside it."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
PARTS = (
    *("daemon", "panoseti_zarr", "systemd"),
    *("pyproject.toml", "README.md", "LICENSE", "config.toml"),
)
NEIGHBOUR = "python-daemon"
"""A package of PyPI whose top-level package is called ``daemon``."""


def pip(*words, python=sys.executable):
    """Run pip for an interpreter; return what it did."""
    return subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", *words],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """The wheel of this checkout and python-daemon's."""
    directory = tmp_path_factory.mktemp("wheels")
    # setuptools leaves a folder build/ where it builds, so build from a copy.
    source = directory / "source"
    source.mkdir()
    for part in PARTS:
        if (REPOSITORY / part).is_dir():
            shutil.copytree(REPOSITORY / part, source / part, symlinks=True)
        else:
            shutil.copy(REPOSITORY / part, source)
    options = ("--no-deps", "--no-build-isolation", "--wheel-dir", directory)
    done = pip("wheel", *options, source)
    assert done.returncode == 0, done.stderr
    if pip("download", "--no-deps", "--dest", directory, NEIGHBOUR).returncode:
        pytest.skip("no index of packages can be reached")
    ours, neighbour = (
        next(directory.glob(f"{n}-*.whl")) for n in ("panoseti_zarr", "python_daemon")
    )
    return ours, neighbour


@pytest.fixture
def python(tmp_path):
    """The interpreter of an empty environment."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    return str(tmp_path / "venv/bin/python")


def finds(python, module):
    """Return the file that an import in the environment finds, or an empty text."""
    code = f"import importlib.util as u; print(getattr(u.find_spec('{module}'), 'origin', ''))"
    words = [python, "-I", "-c", code]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def test_the_wheel_has_one_package(wheels):
    """Everything is below panoseti_zarr, the service and its page included."""
    names = zipfile.ZipFile(wheels[0]).namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith((".dist-info", ".data"))} == {"panoseti_zarr"}
    assert "panoseti_zarr/daemon/service.py" in names
    assert "panoseti_zarr/daemon/web/static/index.html" in names


@pytest.mark.parametrize("removed", [0, 1], ids=["ours removed", "python-daemon removed"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["ours first", "python-daemon first"])
def test_python_daemon_can_be_installed_beside_it(wheels, python, order, removed):
    """In both orders both are whole, and either can be removed without the other."""
    for place in order:
        done = pip("install", "--no-deps", "--quiet", wheels[place], python=python)
        assert done.returncode == 0, done.stderr
    assert finds(python, "daemon").endswith("site-packages/daemon/__init__.py")
    assert finds(python, "daemon.daemon") != ""
    assert finds(python, "panoseti_zarr.daemon").endswith("panoseti_zarr/daemon/__init__.py")
    done = pip("uninstall", "--yes", ("panoseti-zarr", NEIGHBOUR)[removed], python=python)
    assert done.returncode == 0, done.stderr
    assert bool(finds(python, "panoseti_zarr")) == (removed == 1)
    assert bool(finds(python, "daemon")) == (removed == 0)
