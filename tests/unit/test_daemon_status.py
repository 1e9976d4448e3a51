"""The status document and its table."""

import time
from typing import Any

from daemon.messages import Connected, RootSeen, RunEntry, RunSeen, Started, Store, StreamSeen
from daemon.settings import Settings
from daemon.snapshot import MAX_SETTLED_STREAMS, Facts, describe, empty_snapshot, in_words
from daemon.state import ServiceState
from panoseti_zarr.cli.status import exit_code, format_status

RUN = "obs_Lick.start_2024-07-25T04:34:06Z.runtype_sci-data.birdie_3.pffd"
LONG = "pixel (3, 4) of frame 17 " * 8


def service(*streams: str, n_runs: int = 1) -> ServiceState:
    """Return the state of a service with queued streams."""
    state = ServiceState(Settings(settle_s=0))
    state.handle(Started(0.0, ("/data",)))
    state.handle(Connected(0.0, 2))
    names = [RUN, *(f"{number}.pffd" for number in range(1, n_runs))]
    entries = tuple(RunEntry(name, 1, (0, place, name), 1) for place, name in enumerate(names))
    state.handle(RootSeen(0.0, "/data", "", "v", 1, n_runs, entries, (("bad\n.pffd", "why"),)))
    seen = tuple(StreamSeen(key, "d", Store.ABSENT) for key in streams)
    for name in names:
        state.handle(RunSeen(0.0, name, 0.0, "d", 1, ("run_complete",), seen))
    return state


def document(state: ServiceState, *, is_up: bool = True) -> dict[str, Any]:
    """Return the status document of a state, as `status` sees it."""
    facts = Facts(7, "1.0", "host", "/etc/c.toml", 0, "running", "in process")
    made = describe(state, facts, time.time_ns(), 0)
    return {**made, "service": {**made["service"], "up": is_up}}


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
    assert lines[-1].startswith("total: 1 runs, 2 streams")


def test_every_state_has_its_exit_code():
    """Healthy, quarantined, down, silent for two minutes."""
    state = service("dp_img16.module_1")
    healthy = document(state)
    assert exit_code(healthy) == 0
    assert exit_code({**healthy, "totals": {**healthy["totals"], "n_quarantined": 1}}) == 1
    assert exit_code({**healthy, "written_at": "2024-01-01T00:00:00Z"}) == 2
    assert exit_code(document(state, is_up=False)) == 2
    assert exit_code({**empty_snapshot(), "service": {"up": False}}) == 2
    assert exit_code({**empty_snapshot(), "service": {"up": True}}) == 0


def test_without_a_status_it_says_so():
    """Nothing was written yet: a line, not a failure."""
    lines = list(format_status({**empty_snapshot(), "service": {"up": False}}))
    assert "has not written a status" in lines[0]


def test_old_runs_have_their_sums_alone():
    """The document does not grow without bound: streams of old runs are left out."""
    state = service(*(f"dp_img16.module_{n}" for n in range(100)), n_runs=50)
    for run in state.runs.values():
        run.is_complete = True
    found = document(state)
    listed = [run["streams"] is not None for run in found["runs"]]
    assert sum(listed) == MAX_SETTLED_STREAMS // 100
    assert listed[-1]
    assert not listed[0]
    assert found["runs"][0]["n_streams"] == 100
    assert found["totals"]["n_streams"] == 5000


def test_the_state_in_words_counts_and_names_what_is_paused():
    """It is what systemd shows in `systemctl status`."""
    state = service("dp_img16.module_1")
    state.handle(RootSeen(1.0, "/data", "is missing"))
    words = in_words(document(state))
    assert "1 streams queued" in words
    assert "/data is missing" in words
