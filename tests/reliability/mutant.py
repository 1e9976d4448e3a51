"""What a mutant is: a rule of the product that is broken, and the tests that must fail."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("panoseti_zarr", "daemon")
HERE = "tests/reliability"


@dataclass(frozen=True)
class Mutant:
    """A rule that is broken.

    Attributes
    ----------
    name : str
        The rule's breach, in words.
    edits : tuple of (str, str, str)
        File below `PACKAGES`' directory, text that stands there once, and what takes its place.
    tests : str
        The pytest selection that must fail.
    """

    name: str
    edits: tuple[tuple[str, str, str], ...]
    tests: str


def left_out(name: str, file: str, text: str, tests: str, instead: str = "") -> Mutant:
    """Return the mutant that lacks one text."""
    return Mutant(name, ((file, text, instead),), tests)


def apply(mutant: Mutant, root: Path) -> None:
    """Change the files below a directory; each text must be there once."""
    for name, text, instead in mutant.edits:
        file = root / name
        before = file.read_text()
        if before.count(text) != 1:
            raise SystemExit(f"{mutant.name}: {before.count(text)} times in {name}: {text!r}")
        file.write_text(before.replace(text, instead))
