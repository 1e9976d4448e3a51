"""Options and fixtures that all tests share."""

import collections
import socket
import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

settings.register_profile("quick", deadline=None)
settings.load_profile("quick")

_FOLDER_MARKS = {"reliability": "slow", "soak": "slow", "fuzz": "drawn", "property": "drawn"}


def pytest_collection_modifyitems(items):
    """Give each test the mark of its folder."""
    for item in items:
        folders = item.path.relative_to(item.config.rootpath).parts
        for folder in _FOLDER_MARKS.keys() & set(folders):
            item.add_marker(_FOLDER_MARKS[folder])


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter):
    """Count the skipped tests by reason, and say how to run those that were left out."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = collections.Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in skipped
        if isinstance(report.longrepr, tuple)
    )
    for reason, n_tests in reasons.most_common():
        terminalreporter.write_line(f"{n_tests} skipped: {reason}")
    if "not slow" in terminalreporter.config.option.markexpr:
        terminalreporter.write_line("The slow tests were left out: make test-all runs them.")


@pytest.fixture
def port():
    """A port of loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
