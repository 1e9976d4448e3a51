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

_SLOW = {"reliability", "soak"}
"""Folders of slow tests: faults and long runs."""


def pytest_collection_modifyitems(items):
    """Mark every test of a slow folder."""
    for item in items:
        if _SLOW & set(item.path.parts):
            item.add_marker("slow")


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
        n_slow = len(terminalreporter.stats.get("deselected", []))
        terminalreporter.write_line(f"{n_slow} slow tests left out: make test-all runs them")


@pytest.fixture
def port():
    """A port of loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
