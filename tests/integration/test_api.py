"""The library: `Run`, `convert`, `baseline`, `verify`, and the example that uses them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import panoseti_zarr
from panoseti_zarr.cli.app import app
from panoseti_zarr.config import Config
from panoseti_zarr.errors import ConfigError, CorruptDataError, InputError
from panoseti_zarr.io.simulate import RunPlan, StreamPlan, simulate_run
from panoseti_zarr.model import StreamKey

EXAMPLE = Path(__file__).parents[2] / "examples/run_to_plot.py"


@pytest.fixture
def run(tmp_path):
    """A run of two streams, of which one lacks its first file."""
    streams = (StreamPlan("img16", 3, 500), StreamPlan("ph256", 3, 200))
    plan = RunPlan(streams, max_file_size_mb=0.3)
    path = simulate_run(tmp_path / "data", plan)
    (path / plan.frame_file_name(StreamKey("img16", 3), 0, plan.daq_delay_s)).unlink()
    return panoseti_zarr.Run(path)


def test_a_run_tells_what_the_command_shows(run, tmp_path):
    """Streams and gaps are those of ``streams --json``; the configuration has no password."""
    told = json.loads(CliRunner().invoke(app, ["streams", str(run.path), "--json"]).stdout)
    assert [(str(s.key), s.n_frames, s.first_time_ns, list(s.gaps)) for s in run.streams] == [
        (s["stream"], s["n_frames"], s["first_time_ns"], s["gaps"]) for s in told["streams"]
    ]
    assert run.gaps == {StreamKey("img16", 3): (0,)}
    assert (run.name, run.runtype, run.complaints) == (told["run"], "sci-data", ())
    assert "secret" not in json.dumps(run.configuration)
    assert Path(run) == tmp_path / "data" / run.name
    with pytest.raises(InputError):
        panoseti_zarr.Run(tmp_path / "none.pffd")


def test_from_a_run_to_verified_stores(run, tmp_path):
    """What the functions make equals what the commands make, and is not made twice."""
    outcomes = panoseti_zarr.convert(str(run.path), tmp_path / "new/l0")
    assert [outcome.key for outcome in outcomes] == [s.key for s in run.streams]
    assert all(panoseti_zarr.verify(outcome.store, run).ok for outcome in outcomes)
    assert panoseti_zarr.verify(outcomes[0].store).ok
    again = panoseti_zarr.convert(run, tmp_path / "new/l0")
    assert [outcome.result.changed for outcome in again] == [False, False]
    beside = panoseti_zarr.baseline(outcomes[1].store)
    assert beside.path == outcomes[1].store.with_name(f"{run.name}.dp_ph256.module_3_L1.zarr")
    named = panoseti_zarr.baseline(outcomes[1].store, tmp_path / "mine.zarr")
    assert named.path == tmp_path / "mine.zarr"
    assert panoseti_zarr.open_stream(named.path).sizes["time"] == 200


def test_settings_are_a_configuration_or_its_file(run, tmp_path):
    """A `Config` and a file of it make the same stores, and a wrong file is a `ConfigError`."""
    file = tmp_path / "config.toml"
    file.write_text('[pff_to_zarr]\ncodec = "gzip"\n[baseline_subtract]\nbaseline_window = 7\n')
    config = Config.model_validate(
        {"pff_to_zarr": {"codec": "gzip"}, "baseline_subtract": {"baseline_window": 7}}
    )
    for place, settings in (("a", file), ("b", config)):
        outcome = panoseti_zarr.convert(run, tmp_path / place, settings=settings)[0]
        l1 = panoseti_zarr.baseline(outcome.store, settings=settings)
        held = json.loads((l1.path / "zarr.json").read_bytes())["attributes"]["settings"]
        assert held["baseline_window"] == 7
        assert "gzip" in (outcome.store / "images/zarr.json").read_text()
    file.write_text("[pff_to_zar]\n")
    with pytest.raises(ConfigError, match="pff_to_zarr"):
        panoseti_zarr.convert(run, tmp_path / "c", settings=file)


def test_a_stream_that_cannot_go_on(run, tmp_path):
    """One bad stream is an outcome with a problem; the other is whole."""
    (bad,) = (f for f in run.path.glob("*dp_ph256*.pff") if f.stat().st_size)
    bad.write_bytes(b"no frames" * 1000)
    images, pulses = panoseti_zarr.convert(run.path, tmp_path / "l0")
    assert images.store.is_dir()
    with pytest.raises(CorruptDataError, match="no readable ph256 header"):
        pulses.store  # noqa: B018 - it raises
    assert not panoseti_zarr.verify(images.store, tmp_path / "data" / run.name).difference


def test_the_example_from_a_run_to_a_plot(run, tmp_path):
    """Ten lines make stores and a picture, without a warning."""
    pytest.importorskip("matplotlib")
    code = EXAMPLE.read_text().partition("import panoseti_zarr\n\n")[2]
    assert len(code.splitlines()) <= 10
    done = subprocess.run(
        [sys.executable, "-W", "error:::__main__", EXAMPLE, run.path, tmp_path / "out"],
        capture_output=True,
        text=True,
        check=False,
        env={"MPLBACKEND": "Agg", "PATH": "", "PYTHONPATH": ":".join(sys.path)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out/dp_img16.module_3.png").read_bytes().startswith(b"\x89PNG")
