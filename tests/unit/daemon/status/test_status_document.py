"""The status document and its table."""

import json
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.state_driver import listed_machine

from panoseti_zarr.cli.status import exit_code, fit_status, format_status
from panoseti_zarr.daemon.state.events import (
    CheckedOutput,
    RootScanned,
)
from panoseti_zarr.daemon.state.machine import ServiceStateMachine
from panoseti_zarr.daemon.state.records import Run, Stream, StreamStatus, VerifyStatus
from panoseti_zarr.daemon.status.document import (
    MAX_SETTLED_STREAMS,
    ProcessInfo,
    ServiceInfo,
    StatusDocument,
    Totals,
    build_status,
)
from panoseti_zarr.daemon.status.summary import summarize

SCHEMA = Path(__file__).parents[4] / "docs" / "status.schema.json"
RUN = "obs_Lick.start_2024-07-25T04:34:06Z.runtype_sci-data.birdie_3.pffd"
LONG = "pixel (3, 4) of frame 17 " * 8


def service(*streams: str, n_runs: int = 1) -> ServiceStateMachine:
    """Return the state of a service with queued streams."""
    names = [RUN, *(f"{number}.pffd" for number in range(1, n_runs))]
    return listed_machine(names, *streams, refused=(("bad\n.pffd", "why"),))


def document(state: ServiceStateMachine) -> StatusDocument:
    """Return the status document of a state, as `status` sees it."""
    info = ProcessInfo(7, "1.0", "host", "/etc/c.toml", 0, "in process")
    return build_status(state, info, time.time_ns(), 0)


def nothing_written(*, is_up: bool) -> StatusDocument:
    """Return the document of a service that has not written one."""
    return StatusDocument(service=ServiceInfo(up=is_up))


def test_the_table_fits_80_columns_and_leaves_nothing_out():
    """Long run names and reasons are wrapped; every stream, error and refusal is there."""
    state = service("dp_img16.module_1", "dp_ph1024.module_254")
    stream = state.runs[RUN].streams["dp_ph1024.module_254"]
    stream.reason, stream.n_frames, stream.lag_s, stream.due_s = LONG, 10**12, 10**9, 5.0
    lines = list(format_status(document(state)))
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    for word in (RUN, "dp_img16.module_1", "1,000,000,000,000", LONG.strip(), "bad\\n.pffd"):
        assert word in text
    assert lines[-1].startswith("total: 1 run, 2 streams")


def test_every_state_has_its_exit_code():
    """Healthy, quarantined, down, silent for two minutes."""
    state = service("dp_img16.module_1")
    healthy = document(state)
    assert exit_code(healthy) == 0
    down = healthy.service.model_copy(update={"up": False})
    for change, code in (
        ({"totals": Totals(n_quarantined=1)}, 1),
        ({"totals": Totals(n_verify_failed=1)}, 1),
        ({"written_at": "2024-01-01T00:00:00Z"}, 2),
        ({"service": down}, 2),
    ):
        assert exit_code(healthy.model_copy(update=change)) == code
    assert exit_code(nothing_written(is_up=False)) == 2
    assert exit_code(nothing_written(is_up=True)) == 0


def test_without_a_status_it_says_so():
    """Nothing was written yet: a line, not a failure."""
    lines = list(format_status(nothing_written(is_up=False)))
    assert "has not written a status" in lines[0]


def test_old_runs_have_their_sums_alone():
    """The document does not grow without bound: streams of old runs are left out."""
    state = service(*(f"dp_img16.module_{n}" for n in range(100)), n_runs=50)
    for run in state.runs.values():
        run.completed_s = 0.0
    found = document(state)
    listed = [run.streams is not None for run in found.runs]
    assert sum(listed) == MAX_SETTLED_STREAMS // 100
    assert listed[-1]
    assert not listed[0]
    assert found.runs[0].n_streams == 100
    assert found.totals.n_streams == 5000


def at_work(*statuses: StreamStatus) -> ServiceStateMachine:
    """Return the state of a service in the middle of a run's streams."""
    state = service(*(f"dp_img16.module_{n}" for n in range(len(statuses))))
    for stream, status in zip(state.runs[RUN].streams.values(), statuses, strict=True):
        stream.status = status
        stream.size_bytes = 10**9
        stream.is_closed = status in {StreamStatus.L1_RUNNING, StreamStatus.DONE}
    return state


def test_the_state_in_words_says_what_is_done():
    """Idle, ingesting, making L1: the run's name is cut, streams and bytes are counted."""
    state = at_work(StreamStatus.DONE, StreamStatus.INGESTING, StreamStatus.QUEUED)
    assert summarize(document(state)) == (
        "ingesting obs_Lick.start_2024-07-25T04:34:06Z.runt… 1 of 3 streams, 2 GB behind"
    )
    state = at_work(StreamStatus.DONE, StreamStatus.L1_RUNNING)
    assert summarize(document(state)) == (
        "making L1 of obs_Lick.start_2024-07-25T04:34:06Z.runt… 1 of 2 streams"
    )
    state = at_work(StreamStatus.DONE)
    state.runs[RUN].completed_s = 0.0
    assert summarize(document(state)) == "idle; 1 run done"


def test_the_state_in_words_says_what_is_recorded():
    """The run that is followed and its streams; not that the service is idle meanwhile."""
    state = at_work(StreamStatus.OPEN, StreamStatus.FOLLOWING)
    state.runs[RUN].settle()
    recorded = "recording obs_Lick.start_2024-07-25T04:34:06Z.runt…, 2 streams"
    assert summarize(document(state)) == recorded
    state.runs["b.pffd"] = Run("b.pffd", "/data", (1, 0, "b.pffd"))
    state.runs["b.pffd"].streams["dp_img16.module_1"] = Stream("dp_img16.module_1")
    words = summarize(document(state))
    assert words.startswith(f"{recorded}; ")
    assert "of 1 run queued" in words


def test_the_state_in_words_names_what_is_wrong_first():
    """It is what systemd shows in `systemctl status`: pauses before work, quarantine after it."""
    state = service("dp_img16.module_1")
    state.handle(RootScanned(1.0, "/data", "is missing"))
    state.job_queue.paused = "l0_dir has 1.0 GB free"
    assert summarize(document(state)) == (
        "paused: l0_dir has 1.0 GB free; /data is missing; 1 stream of 1 run queued"
    )
    state = at_work(StreamStatus.QUARANTINED)
    assert summarize(document(state)).endswith("; 1 stream quarantined")


def test_a_screen_shows_what_is_under_way_and_then_the_latest():
    """However small the screen: head, total, and the runs that matter; the others are counted."""
    state = service("dp_img16.module_1", n_runs=50)
    for run in list(state.runs.values())[1:]:
        run.completed_s = 0.0
        run.streams["dp_img16.module_1"].status = StreamStatus.DONE
    found = document(state)
    lines = fit_status(found, 24)
    assert len(lines) <= 24
    assert RUN in lines[5]
    assert any("49.pffd" in line for line in lines)
    assert not any(line.strip() == "1.pffd" for line in lines)
    (others,) = [line for line in lines if line.startswith("and ")]
    assert others == "and 45 runs more: panoseti-zarr status"
    assert len(fit_status(found, 3)) <= 8


def test_names_that_are_not_unicode_are_shown():
    """Any bytes can be in the name of a file, and in a reason that quotes it."""
    state = service("dp_img16.module_1")
    state.roots["/data"].refused = {"bytes-\udcff.pffd": "its name is not UTF-8: \udcff"}
    state.runs[RUN].streams["dp_img16.module_1"].reason = "no such file: \udcfe.pff"
    made = document(state)
    text = json.dumps(made.as_json(), ensure_ascii=False).encode()
    assert b"bytes-\\\\udcff.pffd" in text
    assert StatusDocument.model_validate_json(text) == made
    assert any("\\udcfe.pff" in line for line in format_status(made))


def test_nothing_is_verified_while_files_of_the_run_change():
    """What was verified is not all that there is: neither the stream nor the run says so."""
    state = at_work(StreamStatus.DONE)
    run = state.runs[RUN]
    (stream,) = run.streams.values()
    stream.verify, stream.verified_ns = VerifyStatus.VERIFIED, 10**18
    stream.verified_store_id, stream.verified_commit = "abc", 3
    (shown,) = document(state).runs[0].streams
    assert (shown.verify, shown.verified_store_id, shown.verified_commit) == ("verified", "abc", 3)
    assert shown.verified_at == "2001-09-09T01:46:40Z"
    assert document(state).runs[0].n_verified == document(state).totals.n_verified == 1
    run.settle()
    (shown,) = document(state).runs[0].streams
    assert shown.verify == "unverified"
    assert (shown.verified_at, shown.verified_store_id, shown.verified_commit) == (None,) * 3
    assert document(state).runs[0].n_verified == document(state).totals.n_verified == 0


def strictly(schema: Any) -> Any:
    """Return the schema with no key allowed that it does not name."""
    if isinstance(schema, list):
        return [strictly(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {"additionalProperties": False} if "properties" in schema else {}
    return {key: strictly(part) for key, part in schema.items()} | closed


@pytest.mark.parametrize("statuses", [(), tuple(StreamStatus)])
def test_the_document_has_the_form_that_its_schema_promises(statuses):
    """docs/status.schema.json names every key, whatever the state; so does the empty document."""
    state = at_work(*statuses)
    state.outputs = (CheckedOutput("l0_dir", "/l0", volume="v", device=1, free_bytes=5),)
    schema = strictly(json.loads(SCHEMA.read_text()))
    for made in (document(state), nothing_written(is_up=False)):
        jsonschema.validate(made.as_json(), schema)
    wrong = document(state).as_json()
    wrong["service"]["phase"] = "dancing"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)
