"""The project's language: no phrase that has to be read twice, no line that does not fit."""

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PHRASES = re.compile(
    r"\banew\b|, for (it|the|they)\b|none of ours|\bis none\b|\bso many\b|\bfor now\b|\bat hand\b"
    r"|\bbe had\b|\btold of\b|\bwhat (came|became) of\b",
)
FOLDERS = ("benchmarks", "daemon", "docs", "examples", "panoseti_zarr", "systemd", "tests")
SUFFIXES = {".css", ".html", ".js", ".md", ".py", ".service", ".sh", ".toml"}


PAGES = sorted(
    path
    for path in (*TOP.glob("*.md"), *(TOP / "docs").rglob("*.md"), *TOP.glob("benchmarks/*.md"))
)


def files() -> list[Path]:
    """Return what people read: code, documents, tests, configuration."""
    below = [path for folder in FOLDERS for path in (TOP / folder).rglob("*")]
    found = [path for path in (*TOP.iterdir(), *below) if path.suffix in SUFFIXES]
    return [path for path in found if path not in {Path(__file__), TOP / "CHANGELOG.md"}]


@pytest.mark.parametrize(
    "line",
    [
        "The stores are made anew.",
        "Left alone for now.",
        "None where there is none.",
        "It is told of.",
    ],
)
def test_such_a_phrase_is_found(line: str) -> None:
    """The check can fail."""
    assert PHRASES.search(line)


def test_there_is_no_such_phrase() -> None:
    """Each hit is named by its file and line."""
    lines = [
        f"{path.relative_to(TOP)}:{number}: {line.strip()}"
        for path in files()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if PHRASES.search(line)
    ]
    assert lines == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(TOP)))
def test_lines_of_documentation_fit(path):
    """At most 100 columns, 76 in a block of code: they are read in terminals, too."""
    is_fenced = False
    wide = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        is_fence = line.lstrip().startswith("```")
        is_fenced = is_fenced != is_fence
        is_code = is_fenced or (line.startswith("    ") and line.lstrip()[:2] not in {"- ", "* "})
        if len(line) > (76 if is_code and not is_fence else 100):
            wide.append(f"{number}: {len(line)} columns")
    assert wide == []
