"""What the status page shows, and what of it a reader is sent."""

import json
import re
from pathlib import Path

import pytest
from support.state_driver import listed_machine

from panoseti_zarr.daemon.state.machine import ServiceStateMachine
from panoseti_zarr.daemon.status.document import (
    ProcessInfo,
    StatusDocument,
    StreamInfo,
    build_status,
)
from panoseti_zarr.daemon.web.remedies import find_remedy, retry_command
from panoseti_zarr.daemon.web.versioned_view import N_LINES, N_MINUTES, VersionedView
from panoseti_zarr.errors import ErrorCode

OPERATE = Path(__file__).parents[4] / "docs/operate.md"
NAMES = ("a.pffd", "b.pffd", "c.pffd")


@pytest.fixture
def state():
    """The state of a service with three runs of one stream."""
    return listed_machine(NAMES, "dp_img16.module_1")


def document(state: ServiceStateMachine) -> StatusDocument:
    """Return the status document of a state."""
    return build_status(state, ProcessInfo(7, "1.0", "host", "/c.toml", 0, "in process"), 0, 0)


def entry(**fields: str) -> StreamInfo:
    """Return a stream of a status document."""
    return StreamInfo(stream="dp_img16.module_1", **fields)


def changes(board: VersionedView, version: int) -> dict:
    """Return what a reader that knows a version is sent."""
    return json.loads(board.changes_since(version))


def test_a_new_reader_gets_everything(state):
    """Head, all runs in their order, and that nothing is to be kept of before."""
    board = VersionedView()
    assert board.show(document(state), {}, "http://127.0.0.1:8787/status")
    sent = changes(board, 0)
    assert sent["all"]
    assert sent["names"] == list(NAMES)
    assert [run["name"] for run in sent["runs"]] == list(NAMES)
    assert sent["head"]["dashboard"] == "http://127.0.0.1:8787/status"
    assert sent["head"]["states"] == {"working": 3}


def test_a_change_of_one_run_sends_one_run(state):
    """And neither the others nor the list of names."""
    board = VersionedView()
    board.show(document(state), {}, None)
    version = board.version
    stream = state.runs["b.pffd"].streams["dp_img16.module_1"]
    stream.n_frames = 10
    assert board.show(document(state), {}, None)
    sent = changes(board, version)
    assert not sent["all"]
    assert [run["name"] for run in sent["runs"]] == ["b.pffd"]
    assert sent["runs"][0]["streams"][0]["n_frames"] == 10
    assert "names" not in sent


def test_the_same_document_is_no_news(state):
    """A heartbeat of the service sends nothing."""
    board = VersionedView()
    board.show(document(state), {}, None)
    version = board.version
    assert not board.show(document(state), {}, None)
    assert board.version == version
    assert changes(board, version) == {"version": version, "all": False}


def test_a_run_that_is_gone_is_missing_from_the_names(state):
    """The list of names tells what a reader is to forget."""
    board = VersionedView()
    board.show(document(state), {}, None)
    version = board.version
    made = document(state)
    assert board.show(made.model_copy(update={"runs": made.runs[1:]}), {}, None)
    assert changes(board, version)["names"] == list(NAMES[1:])


def test_a_new_picture_sends_its_run(state):
    """Nothing else of it changed."""
    board = VersionedView()
    board.show(document(state), {}, None)
    version = board.version
    pictures = {"c.pffd": {"dp_img16.module_1": (("c.png", 5),)}}
    assert board.show(document(state), pictures, None)
    (run,) = changes(board, version)["runs"]
    assert run["pictures"] == {"dp_img16.module_1": [["c.png", 5]]}


def test_bytes_are_counted_by_the_minute_and_old_minutes_go():
    """Twelve hours are kept; a reader is sent the minutes that changed."""
    board = VersionedView()
    board.add_bytes(5, 100)
    board.add_bytes(6, 101)
    version = board.version
    board.add_bytes(7, 101)
    assert changes(board, 0)["minutes"] == [[100, 5], [101, 13]]
    assert changes(board, version)["minutes"] == [[101, 13]]
    board.add_bytes(1, 100 + N_MINUTES)
    assert changes(board, 0)["minutes"] == [[101, 13], [100 + N_MINUTES, 1]]


def test_the_last_lines_are_kept():
    """No more than this many, and a reader is sent those it does not know."""
    board = VersionedView()
    for number in range(N_LINES + 5):
        board.add_line({"number": number})
    assert [line["number"] for line in changes(board, 0)["lines"]] == list(range(5, N_LINES + 5))
    assert changes(board, board.version - 1)["lines"] == [{"number": N_LINES + 4}]


def test_no_password_is_shown(state):
    """Reasons may hold URLs of devices."""
    state.runs["a.pffd"].reason = "http://admin:1234@10.0.1.1/outlet does not answer"
    board = VersionedView()
    board.show(document(state), {}, None)
    assert "1234" not in board.changes_since(0)
    assert "10.0.1.1" in board.changes_since(0)


@pytest.mark.parametrize("code", ErrorCode)
def test_the_command_that_mends_goes_by_the_code(code):
    """A store that does not fit its files any more is made again; all else is tried again."""
    rebuild = code in {"late_file", "source_changed", "store_damaged"}
    stream = entry(state="quarantined", last_error="why", error_code=code)
    remedy = find_remedy("a b.pffd", stream, "/etc/panoseti-zarr/config.toml")
    assert remedy.command == f"sudo panoseti-zarr retry {'--rebuild ' * rebuild}'a b.pffd'"


def test_what_goes_on_by_itself_has_no_command():
    """A stream that is tried again says when; one without an error needs nothing."""
    assert find_remedy("a", entry(state="retrying", last_error="no space"), None).command == ""
    assert find_remedy("a", entry(state="ingesting"), None) is None
    differs = entry(state="done", last_error="pixel (3, 4)", verify="failed")
    assert find_remedy("a", differs, None).command == "panoseti-zarr retry a"


def test_the_command_can_be_pasted_whatever_the_name():
    """Quoted for a shell, never taken for an option, with the configuration that is used."""
    assert retry_command("$(rm x)", None) == "panoseti-zarr retry '$(rm x)'"
    assert retry_command("-x", None) == "panoseti-zarr retry -- -x"
    command = retry_command("a", "/etc/my config.toml", rebuild=True)
    assert command == "panoseti-zarr retry --config '/etc/my config.toml' --rebuild a"


def test_the_advice_is_that_of_the_documentation():
    """Where docs/operate.md says to rebuild, so does the page."""
    text = OPERATE.read_text()
    for reason, code in (
        ("was committed with other images than its file has now", "source_changed"),
        ("arrived after seqno", "late_file"),
    ):
        (advice,) = re.findall(rf"^\*\*.*{reason}.*\*\*\n((?:.+\n)+)", text, re.M)
        assert "retry RUN --rebuild" in advice
        stream = entry(state="quarantined", last_error=reason, error_code=code)
        assert "--rebuild" in find_remedy("a", stream, None).command
