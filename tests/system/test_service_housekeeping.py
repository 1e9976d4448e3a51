"""The service makes what lies beside the L1 stores, and nothing suffers from it."""

import os
import sys

import pytest
from support.service_process import Station, make_run

from panoseti_zarr.pipeline.sidecar import NEEDS_PYARROW

pytest.importorskip("pyarrow")
pd = pytest.importorskip("pandas")


@pytest.fixture
def station(tmp_path):
    """A service that makes them."""
    with Station(tmp_path, housekeeping=True, recheck_s=1) as made:
        yield made


@pytest.mark.slow
def test_made_once_a_run_is_completed_and_again_when_it_changed(station):
    """Table and copies come after the completion; a restart makes nothing; a new line does."""
    run = make_run(station.data)
    station.start()
    station.wait_for("run.completed")
    table = station.l1 / f"{run.name}.hk.parquet"
    made = station.wait_for("housekeeping.made", run=run.name)
    assert (made["path"], made["n_bad_lines"], made["n_rows"]) == (str(table), 0, len(rows(table)))
    assert b"secret" not in (station.l1 / f"{run.name}.files/obs_config.json").read_bytes()
    assert station.stop() == 0
    station.start()
    station.rescans(5)
    assert station.names("housekeeping.") == []
    with (run / "hk.pff").open("a") as file:
        file.write('{"WPS": {"Computer_UTC": "1721882100.5", "POWER": "OFF"}}\n\n')
    (run / "stop_errors").write_text("none\n")
    again = station.wait_for("housekeeping.made", n_files=made["n_files"] + 1)
    assert again["n_rows"] == made["n_rows"] + 1
    assert rows(table).POWER.iloc[-1] == "OFF"
    assert station.stop() == 0
    assert {path.suffix for path in station.l1.iterdir()} == {
        ".zarr",
        ".lock",
        ".parquet",
        ".files",
    }


def rows(table):
    return pd.read_parquet(table)


def test_what_cannot_be_made_is_one_warning(station):
    """A file without a record is told once, the copies are made, and the run is done."""
    run = make_run(station.data)
    (run / "hk.pff").write_text("no json\n")
    station.start()
    station.wait_for("run.completed", n_quarantined=0)
    failed = station.wait_for("housekeeping.failed", run=run.name)
    assert "no readable record in 1 lines" in failed["reason"]
    assert station.wait_for("housekeeping.made")["path"] is None
    station.rescans(8)
    assert len(station.find("housekeeping.failed")) == 1
    assert station.stop() == 0


def test_without_pyarrow_it_is_said_once(station, tmp_path):
    """Every run keeps its files; of the tables one line is written."""
    lame = tmp_path / "lame"
    lame.mkdir()
    (lame / "sitecustomize.py").write_text("import sys\nsys.modules['pyarrow'] = None\n")
    runs = [make_run(station.data, day=day) for day in (25, 26)]
    station.start(PYTHONPATH=os.pathsep.join([str(lame), *filter(None, sys.path)]))
    for run in runs:
        station.wait_for("housekeeping.made", run=run.name, path=None)
    failed = station.find("housekeeping.failed")
    assert [event["reason"] for event in failed] == [NEEDS_PYARROW]
    assert station.stop() == 0


def test_a_stop_does_not_wait_for_it(station):
    """A process that would take long ends with the service, and leaves what the next replaces."""
    run = make_run(station.data)
    line = '{"WPS": {"Computer_UTC": "1721882100.5", "POWER": "OFF"}}\n\n'
    with (run / "hk.pff").open("a") as file:
        file.write(line * 400_000)
    station.start()
    station.wait_for("run.completed")
    station.wait_until((station.l1 / f".{run.name}.files.lock").exists)
    assert station.stop() == 0
    assert station.names("housekeeping.", "task.") == []
    assert not (station.l1 / f"{run.name}.hk.parquet").exists()
