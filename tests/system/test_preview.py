"""``serve --preview``: what a first start would do, without doing it."""

import json

import pytest
from support.service_process import Station, make_run
from support.stores import snapshot

from panoseti_zarr.io.simulate import StreamPlan

STREAMS = (StreamPlan("img16", 1, 300), StreamPlan("ph256", 2, 200))


@pytest.fixture
def station(tmp_path):
    """A station whose service is killed in the end."""
    with Station(tmp_path) as place:
        yield place


def test_a_preview_tells_what_a_start_would_do_and_touches_nothing(station):
    """Finished, waiting and ignored runs with their sizes; no ledger, lock or directory is made."""
    old = make_run(station.data, day=1)
    unmarked = make_run(station.data, day=20, markers=())
    finished = make_run(station.data, *STREAMS, day=25)
    station.write_config(min_free_gb=10**6)
    text = station.config.read_text()
    station.config.write_text(text.replace("[daemon]", "[daemon]\nignore_before = 2024-07-10"))
    held = snapshot(station.base)
    done = station.command("serve", "--preview", "--json")
    assert done.returncode == 0, done.stderr
    assert snapshot(station.base) == held
    assert not station.state.exists()
    found = json.loads(done.stdout)
    assert {run["name"]: run["state"] for run in found["runs"]} == {
        old.name: "ignored",
        unmarked.name: "waiting",
        finished.name: "to convert",
    }
    sizes = {
        run.name: sum(f.stat().st_size for f in run.glob("*.dp_*.pff"))
        for run in (old, unmarked, finished)
    }
    assert {run["name"]: run["size_bytes"] for run in found["runs"]} == sizes
    to_convert = found["states"]["to convert"]
    assert (to_convert["n_runs"], to_convert["n_streams"]) == (1, 2)
    assert to_convert["l0_bytes"] == sizes[finished.name]
    assert [disk["fits"] for disk in found["disks"]] == [False, False]
    text = station.command("serve", "--preview").stdout
    assert "waiting: 1 run: no finished marker (collect_complete, run_complete)" in text
    assert "may not fit" in text


def test_a_preview_agrees_with_the_start_that_follows(station):
    """What it calls to convert is converted; after that it says so, and needs no disk."""
    make_run(station.data, *STREAMS, day=25)
    make_run(station.data, day=20, markers=())
    before = json.loads(station.command("serve", "--preview", "--json").stdout)
    station.start()
    station.wait_for("run.completed")
    station.rescans()
    made = {event["run"] for event in station.find("run.completed")}
    assert made == {run["name"] for run in before["runs"] if run["state"] == "to convert"}
    station.stop()
    size = sum(f.stat().st_size for d in (station.l0, station.l1) for f in d.rglob("c/**/*"))
    (needed,) = {disk["needed_bytes"] for disk in before["disks"]}
    assert 0 < size < needed
    after = json.loads(station.command("serve", "--preview", "--json").stdout)
    assert [run["state"] for run in after["runs"]] == ["waiting", "converted"]
    assert [disk["needed_bytes"] for disk in after["disks"]] == [0, 0]
