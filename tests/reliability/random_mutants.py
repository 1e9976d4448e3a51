"""Change the service's code at random, one place at a time, and see which tests notice.

Run it as a command: ``random_mutants.py --seed 1 --number 60``. It draws places from all of
``daemon/``, applies one change at a time to a temporary copy of the package, and runs the
service's fast tests there. It prints each change with the test that failed, or SURVIVED, and
exits with 1 if more than one in twenty survives.

The changes: a comparison or a boolean operator is replaced by another one, a ``not`` is left
out, a constant is changed, a call or an assignment to an attribute is left out. Module-level
constants and texts stay as they are: most of them are timings and wording.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mutant import PACKAGES, ROOT

TESTS = (
    "tests/unit/daemon/**/test_*.py",
    "tests/integration/daemon/**/test_*.py",
    "tests/property/test_state_machine.py",
)
"""Those that test the service without starting it, cheapest first."""

SLOWER_TESTS = (
    *("tests/system/test_serve*.py", "tests/system/test_preview.py"),
    *("tests/system/test_service_quicklook.py", "tests/system/test_service_housekeeping.py"),
)
"""Those that start it; with ``--slow``, where the others notice nothing."""

MOST_SURVIVORS = 0.05

_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}


@dataclass(frozen=True)
class Change:
    """A piece of a file, and what takes its place."""

    file: str
    line: int
    start: int
    stop: int
    instead: str

    def apply(self, root: Path) -> str:
        """Change the file below a directory; return the line as it is then."""
        path = root / self.file
        text = path.read_bytes()
        changed = text[: self.start] + self.instead.encode() + text[self.stop :]
        path.write_bytes(changed)
        return " ".join(changed[self.start :].decode().splitlines()[0].split())


def find_changes(file: Path) -> Iterator[Change]:
    """Give every change of a file."""
    source = file.read_text()
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def replace(first: ast.AST, last: ast.AST, instead: str, *, after: bool = False) -> Change:
        start = starts[first.lineno - 1] + first.col_offset
        if after:
            start = starts[first.end_lineno - 1] + first.end_col_offset
        stop = starts[last.end_lineno - 1] + last.end_col_offset
        return Change(str(file.relative_to(ROOT)), first.lineno, start, stop, instead)

    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef):
            for statement in function.body:
                for node in ast.walk(statement):
                    yield from _changes_of(node, source, replace)


def _changes_of(node: ast.AST, source: str, replace) -> Iterator[Change]:
    def text(part: ast.AST) -> str:
        return ast.get_source_segment(source, part) or ""

    match node:
        case ast.Compare(left=left, ops=[operator], comparators=[right]):
            instead = _COMPARISONS[type(operator)]
            yield replace(node, node, f"{text(left)} {instead} {text(right)}")
        case ast.BoolOp(op=operator, values=values):
            word = "or" if isinstance(operator, ast.And) else "and"
            yield replace(node, node, f"({f' {word} '.join(map(text, values))})")
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield replace(node, node, f"({text(operand)})")
        case ast.Constant(value=bool() as value):
            yield replace(node, node, str(not value))
        case ast.Constant(value=int() as value):
            yield replace(node, node, str(value + 1))
        case ast.Expr(value=ast.Call()):
            yield replace(node, node, "pass")
        case ast.Assign(targets=[ast.Attribute()]) | ast.AugAssign(target=ast.Attribute()):
            yield replace(node, node, "pass")


def copy_packages(root: Path) -> None:
    """Put the packages below a directory, as they are without a change."""
    for package in PACKAGES:
        shutil.rmtree(root / package, ignore_errors=True)
        shutil.copytree(ROOT / package, root / package, symlinks=True)


def run_tests(root: Path, tests: tuple[str, ...]) -> str:
    """Run tests against the package below a directory; return the first that failed, or none."""
    found = [str(path.relative_to(root)) for test in tests for path in sorted(root.glob(test))]
    words = ("-p", "no:cacheprovider", "-q", "-x", "-m", "not root", *found)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    if done.returncode == 0:
        return ""
    failed = re.search(r"^(?:FAILED|ERROR) (.*?)(?: - .*)?$", done.stdout, re.MULTILINE)
    return failed[1] if failed else f"exit code {done.returncode}"


def first_failure(root: Path, selections: tuple[tuple[str, ...], ...]) -> str:
    """Run selections of tests in turn; return the first that failed, or none."""
    return next(filter(None, (run_tests(root, tests) for tests in selections)), "")


def main() -> int:
    """Try a sample of the changes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--number", type=int, default=60)
    parser.add_argument("--slow", action="store_true", help="run tests that start the service, too")
    parser.add_argument("--part", default="0/1", help="K/N: every Nth change, from the Kth")
    given = parser.parse_args()
    files = sorted(path for path in (ROOT / "daemon").rglob("*.py") if path.name != "__main__.py")
    changes = [change for file in files for change in find_changes(file)]
    draw = random.Random(given.seed)  # noqa: S311 - no secret
    sample = draw.sample(changes, given.number)
    first, step = map(int, given.part.split("/"))
    survivors = []
    with tempfile.TemporaryDirectory(prefix="panoseti-zarr-mutants-") as directory:
        root = Path(directory)
        for path in sorted(ROOT.iterdir()):
            if not path.name.startswith(".") and path.name not in ("build", *PACKAGES):
                copy = shutil.copytree if path.is_dir() else shutil.copy
                copy(path, root / path.name)
        copy_packages(root)
        selections = (TESTS, SLOWER_TESTS) if given.slow else (TESTS,)
        if failed := first_failure(root, selections):
            raise SystemExit(f"fails without a change: {failed}")
        for change in sample[first::step]:
            copy_packages(root)
            shown = change.apply(root)
            try:
                failed = first_failure(root, selections)
            except subprocess.TimeoutExpired:
                failed = "no end"
            survivors += [] if failed else [change]
            verdict = failed or "SURVIVED"
            sys.stdout.write(f"{change.file}:{change.line}: {shown[:70]:<72} {verdict}\n")
            sys.stdout.flush()
    n_tried = len(sample[first::step])
    sys.stdout.write(f"{n_tried} of {len(changes)} changes, {len(survivors)} survived\n")
    return len(survivors) > MOST_SURVIVORS * n_tried


if __name__ == "__main__":
    raise SystemExit(main())
