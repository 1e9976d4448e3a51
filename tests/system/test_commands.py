"""The commands as a user runs them: results, exit codes, one clear line for what is wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.disks import memory_disk
from support.waiting import PATIENCE_S

from panoseti_zarr.io.fs.locks import store_lock
from panoseti_zarr.io.simulate import RunPlan, StreamPlan, simulate_run
from panoseti_zarr.io.simulate.defects import CutTail

COMMAND = (sys.executable, "-m", "panoseti_zarr")


def run(*words, cwd=None):
    """Run a command and return what it did."""
    environment = {key: value for key, value in os.environ.items() if key != "CONFIG_FILE"}
    return subprocess.run(
        [*COMMAND, *map(str, words)],
        cwd=cwd or "/",
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def assert_one_clear_line(done, exit_code, *parts):
    """The command failed with this code, a last line on stderr that says why, no traceback."""
    assert done.returncode == exit_code, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    last = done.stderr.strip().splitlines()[-1]
    for part in parts:
        assert part in last


@pytest.fixture
def small_run(tmp_path):
    streams = (StreamPlan("img16", 3, 120), StreamPlan("ph256", 3, 80))
    return simulate_run(tmp_path / "data", RunPlan(streams))


def test_help_imports_nothing_heavy():
    """The help answers without numpy, TensorStore, Dask or pydantic."""
    script = (
        "import sys; from panoseti_zarr.cli.app import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'tensorstore', 'distributed', 'dask', 'zarr', 'pydantic'}\n"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"
    for command in ("streams", "convert", "baseline", "run", "cluster", "serve", "status",
                    "housekeeping", "retry", "verify", "simulate", "check-config",
                    "demo"):  # fmt: skip
        assert command in done.stdout


@pytest.mark.parametrize(
    "words",
    [["nothing"], ["convert"], ["streams", "--jsn", "x"], ["convert", "a", "b", "c", "d", "e"]],
)
def test_wrong_usage(words):
    """What cannot be understood exits 2."""
    done = run(*words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_streams(small_run):
    """A run's streams are listed for people and for programs."""
    done = run("streams", f"{small_run}/", "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)["streams"]
    assert [s["stream"] for s in found] == ["dp_img16.module_3", "dp_ph256.module_3"]
    assert [s["n_frames"] for s in found] == [120, 80]
    assert found[0]["first_time"].startswith("2024-07-25T04:34:")
    assert found[0]["gaps"] == []
    table = run("streams", small_run).stdout
    assert "dp_img16.module_3" in table
    assert "120" in table


def test_run_makes_both_stores(small_run, tmp_path):
    """One command from PFF to L0 and L1, and verify agrees; done again, nothing is new."""
    l0_dir, l1_dir = tmp_path / "l0", tmp_path / "l1"
    done = run("run", small_run, l0_dir, l1_dir)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done") == 4
    assert len(list(l0_dir.glob("*.zarr"))) == len(list(l1_dir.glob("*_L1.zarr"))) == 2
    for store in l0_dir.glob("*.zarr"):
        assert run("verify", store, small_run).returncode == 0
        assert run("verify", store).returncode == 0
    again = run("run", small_run, l0_dir, l1_dir, "--json")
    assert {step["state"] for step in json.loads(again.stdout)["steps"]} == {"unchanged"}


def test_convert_again_changes_nothing(small_run, tmp_path):
    """A second conversion says that there is nothing new."""
    assert run("convert", small_run, tmp_path / "l0").returncode == 0
    done = run("convert", small_run, tmp_path / "l0", "--json")
    assert done.returncode == 0
    assert [s["changed"] for s in json.loads(done.stdout)["streams"]] == [False, False]


def test_no_frame_files(tmp_path):
    """A directory without a frame file is refused, and nothing is made."""
    (tmp_path / "night.pffd").mkdir()
    (tmp_path / "night.pffd" / "dp_img16.module_1.seqno_0.pff").touch()
    for command in (["convert"], ["run", tmp_path / "l0"]):
        done = run(command[0], tmp_path / "night.pffd", *command[1:], tmp_path / "out")
        assert_one_clear_line(done, 1, "No valid PFF files found")
    assert_one_clear_line(run("streams", tmp_path / "night.pffd"), 1, "No valid PFF files found")
    assert not (tmp_path / "out").exists()


def test_no_such_run(tmp_path):
    """A run that is not there is named."""
    done = run("convert", tmp_path / "none.pffd", tmp_path / "l0")
    assert_one_clear_line(done, 1, "No such file", "none.pffd")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(small_run, tmp_path):
    """A run that may not be read is said so."""
    small_run.chmod(0)
    try:
        assert_one_clear_line(run("convert", small_run, tmp_path), 1, "Permission denied")
    finally:
        small_run.chmod(0o755)


def test_stores_cannot_be_made(small_run):
    """A place where nothing can be written is named with the reason."""
    assert_one_clear_line(run("convert", small_run, "/proc/none/l0"), 1, "/proc/none")


def test_another_format(small_run, tmp_path):
    """A stream of another format is quarantined with its reason; the others are done."""
    bad = small_run / "start_2024-07-25T04:34:46Z.dp_img8.bpp_1.module_9.seqno_0.pff"
    bad.write_bytes(b"SIMPLE  =                    T" * 200)
    for _ in range(2):
        done = run("convert", small_run, tmp_path / "l0")
        assert_one_clear_line(done, 3, "dp_img8.module_9: no readable img8 header", bad.name)
    assert len(list((tmp_path / "l0").glob("*.zarr"))) == 2


def test_cut_file(tmp_path):
    """A cut file exits 3 each time, with the frames that are whole in the store."""
    plan = RunPlan((StreamPlan("img16", 3, 120),), defects=(CutTail(n_bytes=7),))
    cut = simulate_run(tmp_path, plan)
    for _ in range(2):
        done = run("convert", cut, tmp_path / "l0", "--json")
        assert_one_clear_line(done, 3, "dp_img16.module_3: ", "its last frame is cut")
        assert json.loads(done.stdout)["streams"][0]["n_frames"] == 119


def test_config_is_found_and_named(small_run, tmp_path):
    """./config.toml is used and said; a wrong key exits 2 with the nearest right one."""
    (tmp_path / "config.toml").write_text("[pff_to_zarr]\ntime_chnk = 5\n")
    done = run("convert", small_run, tmp_path / "l0", cwd=tmp_path)
    assert_one_clear_line(done, 2, "time_chnk", "time_chunk")
    done = run("convert", small_run, tmp_path / "l0", tmp_path / "none.toml")
    assert_one_clear_line(done, 2, "none.toml")
    assert not (tmp_path / "l0").exists()


@pytest.fixture
def full_disk(tmp_path):
    """A file system of 300 kB."""
    with memory_disk(tmp_path / "full", "size=300k") as place:
        yield place


def test_full_disk(small_run, full_disk):
    """A full disk is one line, nothing stays that looks whole, and with room it goes on."""
    done = run("convert", small_run, full_disk / "l0")
    assert_one_clear_line(done, 1, "No space left on device")
    assert "dp_img16.module_3: " in done.stderr
    left = [path for path in (full_disk / "l0").iterdir() if path.suffix != ".lock"]
    assert not [path for path in left if "img16" in path.name]
    for store in left:
        assert run("verify", store, small_run).returncode == 0
    subprocess.run(["mount", "-o", "remount,size=50m", full_disk], check=True)
    assert run("convert", small_run, full_disk / "l0").returncode == 0
    assert len(list((full_disk / "l0").glob("*.zarr"))) == 2


def test_debug_shows_where(tmp_path):
    """With --debug, at any place, the traceback is shown."""
    done = run("convert", tmp_path / "none.pffd", tmp_path / "l0", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_cluster_serves_convert_and_ends(small_run, tmp_path):
    """The scheduler file comes when the cluster is ready, serves a conversion, and goes."""
    config = tmp_path / "config.toml"
    config.write_text("[cluster.local]\nn_workers = 1\ndashboard_port = 0\n")
    file = tmp_path / "scheduler.json"
    with subprocess.Popen(
        [*COMMAND, "cluster", config, file], stdout=subprocess.PIPE, text=True
    ) as cluster:
        try:
            address = cluster.stdout.readline().strip()
            assert json.loads(file.read_text())["address"] == address
            done = run("convert", small_run, tmp_path / "l0", config, file)
            assert done.returncode == 0, done.stderr
        finally:
            cluster.send_signal(signal.SIGTERM)
        assert cluster.wait(PATIENCE_S) == 0
    assert not file.exists()


def test_a_killed_conversion_goes_on(tmp_path):
    """SIGKILL in the middle loses nothing: the next conversion finishes, and verify agrees."""
    big = simulate_run(tmp_path / "data", RunPlan((StreamPlan("img16", 1, 40_000),)))
    config = tmp_path / "config.toml"
    config.write_text("[pff_to_zarr]\ntime_chunk = 512\n")
    l0_dir = tmp_path / "l0"
    command = [*COMMAND, "convert", big, l0_dir, config]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        while not list(l0_dir.glob("*.zarr")) and first.poll() is None:
            time.sleep(0.01)
        first.kill()
    (store,) = l0_dir.glob("*.zarr")
    before = json.loads((store / "zarr.json").read_text())["attributes"]
    done = run("convert", big, l0_dir, config, "--json")
    assert done.returncode == 0, done.stderr
    (stream,) = json.loads(done.stdout)["streams"]
    assert stream["n_new_frames"] == 40_000 - before["n_frames"]
    assert run("verify", store, big).returncode == 0
    assert {Path(name).suffix for name in os.listdir(l0_dir)} == {".zarr", ".lock"}


def test_a_locked_store_does_not_stop_the_others(small_run, tmp_path):
    """The stream that another process writes fails with its holder's pid; the others are done."""
    l0_dir = tmp_path / "l0"
    l0_dir.mkdir()
    with store_lock(l0_dir, f"{small_run.name}.dp_img16.module_3.zarr"):
        done = run("convert", small_run, l0_dir)
    assert_one_clear_line(done, 1, "dp_img16.module_3: ", f"pid {os.getpid()}")
    assert [path.name for path in l0_dir.glob("*.zarr")] == [
        f"{small_run.name}.dp_ph256.module_3.zarr"
    ]
