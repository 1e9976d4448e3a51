"""A run's housekeeping table, and its JSON and logs beside the stores."""

import json
import os
import shutil
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from panoseti_zarr.cli.app import app
from panoseti_zarr.errors import CorruptDataError, InputError, StoreLockedError
from panoseti_zarr.io.fs.locks import store_lock
from panoseti_zarr.io.sidecar import hk_table as hk
from panoseti_zarr.io.sidecar.copies import MANIFEST
from panoseti_zarr.io.simulate import RunPlan, StreamPlan, simulate_run
from panoseti_zarr.pipeline.sidecar import (
    NEEDS_PYARROW,
    is_housekeeping_made,
    make_housekeeping,
)

pd = pytest.importorskip("pandas")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def run(tmp_path):
    """A run of two modules, with a log."""
    plan = RunPlan((StreamPlan("img16", 1, 20), StreamPlan("img16", 254, 20)))
    path = simulate_run(tmp_path / "data", plan)
    (path / "log.txt").write_text(
        "GET http://admin:secret@192.0.2.10/ \udc80ok\n".encode(errors="surrogateescape").decode(
            "latin-1"
        )
    )
    return path


def add_lines(run, *lines, end="\n\n"):
    with (run / "hk.pff").open("a") as file:
        for line in lines:
            file.write((line if isinstance(line, str) else json.dumps(line)) + end)


def test_temperature_against_time(run, tmp_path):
    """Two lines of pandas: rows by time, exact to the nanosecond, a board's numbers in columns."""
    add_lines(run, {"QUABO_1018": {"Computer_UTC": "1721882100.1234567", "TEMP1": "41.5"}})
    table = make_housekeeping(run, tmp_path / "l1").table
    df = pd.read_parquet(table)
    board = df[df.board == "QUABO_1018"]
    assert board.index.name == "time"
    assert board.TEMP1.tolist() == [40.25, 41.5]
    assert board.index[-1] == pd.Timestamp(1721882100_123456700, tz="UTC")
    assert board.dtypes[["TEMP1", "HVMON0"]].tolist() == [np.float64] * 2
    assert board[["module", "quabo"]].iloc[0].tolist() == [254, 2]
    assert set(df.board) == {"WPS", "GPSPRIM"} | {
        f"QUABO_{4 * module + quabo}" for module in (1, 254) for quabo in range(4)
    }
    assert df[df.board == "WPS"].POWER.tolist() == ["ON"]
    schema = parquet.read_schema(table)
    assert schema.field("HVMON0").metadata == {b"unit": b"V"}


def test_lines_that_are_none(run, tmp_path):
    """Bad lines, one too long and a cut end are counted and passed over; the rest is there."""
    add_lines(run, "not json", '{"LONG": {"A": "' + "x" * hk.MAX_LINE_BYTES + '"}}', {"NONE": 3})
    add_lines(run, {"LATE": {"A": "1"}})
    add_lines(run, '{"CUT": {"Computer_UTC": "17', end="")
    result = make_housekeeping(run, tmp_path / "l1")
    df = pd.read_parquet(result.table)
    assert (result.n_rows, result.n_bad_lines, len(df)) == (11, 4, 11)
    assert df.board.iloc[-1] == "LATE"
    assert df.index[-1] is pd.NaT
    about = json.loads(parquet.read_schema(result.table).metadata[b"panoseti_zarr"])
    assert (about["is_cut_short"], about["n_without_time"], about["n_bad_lines"]) == (True, 1, 4)


def test_fields_that_change(run, tmp_path, monkeypatch):
    """A field that comes late, goes, or changes its kind loses no value, in any batch."""
    monkeypatch.setattr(hk, "ROWS_AT_ONCE", 3)
    monkeypatch.setattr(hk, "BATCHES_A_GROUP", 2)
    (run / "hk.pff").unlink()
    values = [1, "2.5", "n/a", None, {"x": 1}, True, "", "7"]
    add_lines(run, *({"B": {"Computer_UTC": str(n), "F": v}} for n, v in enumerate(values)))
    add_lines(run, {"B": {"Computer_UTC": "8", "NEW": "3"}})
    table = make_housekeeping(run, tmp_path / "l1").table
    df = pd.read_parquet(table)
    np.testing.assert_array_equal(df.F, [1, 2.5, *[np.nan] * 3, 1, np.nan, 7, np.nan])
    assert df.F_text.dropna().tolist() == ["n/a", '{"x": 1}']
    assert df.NEW.tolist()[-1] == 3
    assert parquet.ParquetFile(table).num_row_groups == 2


def test_the_same_bytes_again(run, tmp_path):
    """The same file gives the same table, and nothing else is left beside it."""
    first = make_housekeeping(run, tmp_path / "a")
    second = make_housekeeping(run, tmp_path / "b")
    assert first.table.read_bytes() == second.table.read_bytes()
    name = run.name
    assert sorted(os.listdir(tmp_path / "a")) == [
        f".{name}.files.lock",
        f"{name}.files",
        f"{name}.hk.parquet",
    ]


def test_done_once_and_again_when_it_changed(run, tmp_path):
    """Nothing is done twice; what changed, or was lost, is made again."""
    l1 = tmp_path / "l1"
    assert not is_housekeeping_made(run, l1)
    made = make_housekeeping(run, l1)
    assert made.changed
    assert is_housekeeping_made(run, l1)
    before = made.table.stat()
    assert not make_housekeeping(run, l1).changed
    assert made.table.stat() == before
    add_lines(run, {"WPS": {"POWER": "OFF"}})
    assert not is_housekeeping_made(run, l1)
    assert make_housekeeping(run, l1).n_rows == made.n_rows + 1
    (run / "stop_errors").write_text("none\n")
    assert make_housekeeping(run, l1).n_files == made.n_files + 1
    made.table.unlink()
    assert make_housekeeping(run, l1).changed
    assert made.table.exists()


def test_the_copies_have_no_password(run, tmp_path):
    """JSON and logs lie beside, without credentials; the rest is byte for byte the same."""
    place = make_housekeeping(run, tmp_path / "l1").files
    names = {f.name for f in run.iterdir() if not f.name.endswith(".pff")}
    assert set(os.listdir(place)) == names | {MANIFEST}
    for name in names:
        assert b"secret" not in (place / name).read_bytes()
    assert json.loads((place / "obs_config.json").read_text())["wps"]["url"] == "http://192.0.2.10/"
    same = names - {"obs_config.json", "log.txt"}
    assert all((place / name).read_bytes() == (run / name).read_bytes() for name in same)
    expected = (run / "log.txt").read_bytes().replace(b"admin:secret@", b"")
    assert (place / "log.txt").read_bytes() == expected


def test_what_is_not_copied(run, tmp_path, monkeypatch):
    """Frames, links, hidden, large and binary files, broken JSON; the manifest names them."""
    monkeypatch.setattr("panoseti_zarr.io.sidecar.copies.MAX_FILE_BYTES", 5000)
    (tmp_path / "outside.json").write_text("{}")
    (run / "link.json").symlink_to(tmp_path / "outside.json")
    (run / "a_directory.json").mkdir()
    (run / ".hidden.json").write_text("{}")
    (run / "large.log").write_text("x" * 5001)
    (run / "binary.txt").write_bytes(b"\0\1")
    (run / "broken.json").write_text('{"password": "secret"')
    (run / MANIFEST).write_text("{}")
    place = make_housekeeping(run, tmp_path / "l1").files
    entries = json.loads((place / MANIFEST).read_text())["files"]
    remarks = {e["name"]: e["remark"] for e in entries if not e["copy"]}
    assert set(remarks) == {"large.log", "binary.txt", "broken.json"}
    assert all(remark.startswith("left out: ") for remark in remarks.values())
    copied = {e["name"] for e in entries if e["copy"]}
    assert set(os.listdir(place)) == copied | {MANIFEST}
    assert not copied & {"link.json", "a_directory.json", ".hidden.json", MANIFEST}


def test_twins_in_json_hide_no_password(run, tmp_path):
    """Of two keys of one name, the first is not published behind the second."""
    (run / "daq_config.json").write_text('{"u": "http://a:secret@h", "u": "http://h"}')
    place = make_housekeeping(run, tmp_path / "l1").files
    assert json.loads((place / "daq_config.json").read_text()) == {"u": "http://h"}
    assert "secret" not in (place / "daq_config.json").read_text()


def test_what_a_run_has_no_more_is_kept(run, tmp_path):
    """Files that are deleted from the run stay where they were kept, and so does the table."""
    made = make_housekeeping(run, tmp_path / "l1")
    (run / "log.txt").unlink()
    (run / "hk.pff").unlink()
    (run / "stop_errors").write_text("new\n")
    again = make_housekeeping(run, tmp_path / "l1")
    assert again.n_files == made.n_files + 1
    assert (again.files / "log.txt").exists()
    assert again.table == made.table
    assert is_housekeeping_made(run, tmp_path / "l1")


@pytest.mark.parametrize("is_there", [False, True])
def test_an_exchange_that_was_killed(run, tmp_path, is_there):
    """Where names cannot be exchanged: what was put aside is put back, or else removed."""
    made = make_housekeeping(run, tmp_path / "l1")
    files = tmp_path / "l1" / f"{run.name}.files"
    files.rename(files.with_name(f".{files.name}.old"))
    if is_there:
        make_housekeeping(run, tmp_path / "l1")
        shutil.copytree(files, files.with_name(f".{files.name}.old"), dirs_exist_ok=True)
    (run / "log.txt").unlink()
    (run / "more.json").write_text("{}")
    again = make_housekeeping(run, tmp_path / "l1")
    assert again.n_files == made.n_files + 1
    assert (files / "log.txt").exists()
    assert not [path for path in files.parent.iterdir() if path.suffix in (".old", ".new")]


@pytest.mark.parametrize("content", [None, b""])
def test_no_housekeeping(run, tmp_path, content):
    """Without hk.pff, or with an empty one, there is no table and no problem."""
    (run / "hk.pff").unlink()
    if content is not None:
        (run / "hk.pff").write_bytes(content)
    result = make_housekeeping(run, tmp_path / "l1")
    assert (result.table, result.problem, result.n_rows) == (None, None, 0)
    assert is_housekeeping_made(run, tmp_path / "l1")


def test_nothing_to_read(run, tmp_path):
    """A file without one record is a problem, and not tried again; copies are made."""
    (run / "hk.pff").write_bytes(b"\n\xff" * 100)
    result = make_housekeeping(run, tmp_path / "l1")
    assert "no readable record in 100 lines" in result.problem
    assert result.n_files > 0
    assert is_housekeeping_made(run, tmp_path / "l1")
    again = make_housekeeping(run, tmp_path / "l1")
    assert (again.problem, again.changed) == (result.problem, False)


def test_without_pyarrow(run, tmp_path, monkeypatch):
    """The copies are made, and the problem names the extra; with pyarrow the table follows."""
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pyarrow", None)
        result = make_housekeeping(run, tmp_path / "l1")
        assert (result.table, result.problem) == (None, NEEDS_PYARROW)
        assert is_housekeeping_made(run, tmp_path / "l1", with_table=False)
    assert not is_housekeeping_made(run, tmp_path / "l1")
    assert make_housekeeping(run, tmp_path / "l1").table.exists()


def test_nothing_of_others_is_replaced(run, tmp_path):
    """Another directory in the place, or another writer, is an error."""
    place = tmp_path / f"l1/{run.name}.files"
    with store_lock_of(place), pytest.raises(StoreLockedError):
        make_housekeeping(run, place.parent)
    place.mkdir()
    (place / "mine").write_text("x")
    with pytest.raises(InputError, match="something else is where"):
        make_housekeeping(run, place.parent)
    assert os.listdir(place) == ["mine"]
    with pytest.raises(InputError, match="cannot read the run"):
        make_housekeeping(tmp_path / "none.pffd", place.parent)
    with pytest.raises(CorruptDataError):
        make_housekeeping(tmp_path / ("x" * 201), place.parent)


def store_lock_of(place):
    place.parent.mkdir()
    return store_lock(place.parent, place.name)


def test_the_commands(run, tmp_path):
    """``housekeeping`` says what it made, exits 1 with a problem; ``run`` makes it too."""
    runner = CliRunner()
    l1 = tmp_path / "l1"
    told = runner.invoke(app, ["housekeeping", str(run), str(l1), "--json"])
    document = json.loads(told.stdout)
    assert (told.exit_code, document["n_rows"], document["changed"]) == (0, 10, True)
    told = runner.invoke(app, ["housekeeping", str(run), str(l1)])
    assert told.stdout == "housekeeping: 10 rows, 9 files kept, nothing new\n"
    done = runner.invoke(app, ["run", str(run), str(tmp_path / "l0"), str(tmp_path / "other")])
    assert done.exit_code == 0
    assert (tmp_path / f"other/{run.name}.hk.parquet").exists()
    (run / "hk.pff").write_text("x")
    done = runner.invoke(app, ["run", str(run), str(tmp_path / "l0"), str(l1)])
    assert (done.exit_code, "warning: housekeeping: no readable record" in done.stderr) == (0, True)
    told = runner.invoke(app, ["housekeeping", str(run), str(l1)])
    assert (told.exit_code, type(told.exception)) == (1, InputError)
