"""The lock files agree with pyproject.toml, with each other, and with environment.yml."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TOP = Path(__file__).parents[2]
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
EXTRAS = {
    "demo": ("read", "plot"),
    "service": ("hk",),
    "test": ("test", "read", "plot", "hk"),
    "dev": ("dev", "docs", "test", "read", "plot", "hk"),
}
PYTHONS = ("3.11", "3.12", "3.13")
PINNED = re.compile(r"^([a-z0-9-]+)(?:\[.*\])?==([^ ;\\]+)(?: ; ([^\\]+))? \\$", re.MULTILINE)


def locked(name: str, python: str) -> dict[str, str]:
    """Return the version of each package that a lock file has for a version of Python on Linux."""
    text = (TOP / f"requirements/{name}.txt").read_text()
    place = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
    }
    return {
        package: version
        for package, version, marker in PINNED.findall(text)
        if not marker or Requirement(f"{package} ; {marker}").marker.evaluate(place)
    }


def requirements(extras: tuple[str, ...]) -> list[Requirement]:
    """Return what pyproject.toml asks for with some extras."""
    optional = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in optional[extra])]
    return [wanted for wanted in map(Requirement, lines) if wanted.name != PROJECT["name"]]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", EXTRAS)
def test_a_lock_has_every_dependency_in_a_version_that_is_allowed(name, python):
    """After a change of the bounds in pyproject.toml: `make lock`."""
    versions = locked(name, python)
    assert "setuptools" in versions
    for wanted in requirements(EXTRAS[name]):
        version = versions.get(canonicalize_name(wanted.name))
        assert version is not None, f"{wanted.name} is not locked"
        assert wanted.specifier.contains(version), f"{wanted} excludes the locked {version}"


@pytest.mark.parametrize("python", PYTHONS)
def test_the_locks_agree_with_each_other(python):
    """Each file is a part of dev.txt, so that what is tested is what is installed."""
    everything = locked("dev", python).items()
    for name in EXTRAS:
        assert locked(name, python).items() <= everything
    assert locked("demo", python).items() <= locked("test", python).items()


def test_every_locked_package_has_hashes():
    """Pip refuses a file that the lock does not know."""
    for name in EXTRAS:
        text = (TOP / f"requirements/{name}.txt").read_text()
        packages = re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)[1:]
        assert len(packages) == len(PINNED.findall(text))
        assert all("--hash=sha256:" in package for package in packages)


def test_conda_s_environment_takes_the_lock():
    """Its Python is one that the project runs on, and pip installs the locked versions."""
    text = (TOP / "environment.yml").read_text()
    low, high = re.search(r"python *(>=[0-9.]+),(<[0-9.]+)", text).groups()
    assert f"{low},{high}" == PROJECT["requires-python"]
    assert "--requirement requirements/demo.txt" in text
