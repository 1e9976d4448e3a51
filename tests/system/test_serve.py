"""The service as a real process, on runs as the DAQ writes them."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.needs import need
from support.service_process import Station, environment, make_run, mark_finished
from support.stores import chunk_digests, frame_files, overwrite, snapshot
from support.waiting import PATIENCE_S

from panoseti_zarr.io.simulate import StreamPlan

IMG = "dp_img16.module_1"
PH = "dp_ph256.module_2"
MANY = (StreamPlan("img16", 1, 10_000), StreamPlan("ph256", 2, 10_000))


@pytest.fixture
def station(tmp_path):
    """A station whose service is killed in the end."""
    with Station(tmp_path) as place:
        yield place


def stores(directory: Path) -> list[str]:
    """Return what a directory holds, lock files left out."""
    names = os.listdir(directory) if directory.exists() else []
    return sorted(name for name in names if not name.endswith(".lock"))


def test_a_run_is_ingested_once_its_markers_are_there(station):
    """Empty root, unmarked run, markers: L0 and L1 appear, and the log tells it in order."""
    station.start()
    assert station.status()["runs"] == []
    run = make_run(station.data, markers=())
    station.wait_for("run.discovered")
    station.rescans()
    assert stores(station.l0) == []
    assert station.names("run.", "stream.") == ["run.discovered"]
    (waiting,) = station.wait_for_status(lambda status: status["runs"])["runs"]
    assert (waiting["state"], waiting["streams"]) == ("waiting", [])
    assert "no finished marker" in waiting["reason"]

    mark_finished(run)
    station.wait_for("run.completed", n_streams=2, n_quarantined=0, n_frames=500)
    for stream in (IMG, PH):
        mine = [e["event"] for e in station.events if e.get("stream") == stream]
        assert mine[0] == "stream.queued"
        assert mine[1] == "stream.committed"
        assert mine[-3:] == ["stream.closed", "l1.started", "l1.finished"]
    assert station.names("run.") == ["run.discovered", "run.finished", "run.completed"]
    name = run.name
    assert stores(station.l0) == [f"{name}.{IMG}.zarr", f"{name}.{PH}.zarr"]
    assert stores(station.l1) == [f"{name}.{IMG}_L1.zarr", f"{name}.{PH}_L1.zarr"]
    for stream in (IMG, PH):
        assert station.command_verify(stream, run) == 0
    assert station.stop() == 0
    assert station.names("service.")[-2:] == ["service.stopping", "service.stopped"]


@pytest.mark.parametrize("watch", ["inotify", "polling"])
def test_notices_come_before_the_rescan(station, watch):
    """With an hour between rescans, a new run and its markers are still found at once."""
    station.write_config(rescan_s=3600, watch=watch)
    station.start()
    run = make_run(station.data, markers=())
    station.wait_for("run.discovered")
    mark_finished(run)
    station.wait_for("run.completed", n_quarantined=0)


def test_status_tells_before_during_and_after(station):
    """Without a service, with one, and with one that was stopped or killed."""
    before = station.status()
    assert (before["exit_code"], before["service"]) == (2, {"up": False})
    assert "has not written a status" in station.command("status").stdout
    make_run(station.data)
    station.start()
    station.wait_for("run.completed")
    during = station.wait_for_status(lambda s: s["totals"]["n_done"] == 2)
    assert during["exit_code"] == 0
    assert during["service"]["up"]
    assert during["service"]["pid"] == station.pid
    assert station.stop() == 0
    after = station.status()
    assert after["exit_code"] == 2
    assert not after["service"]["up"]
    assert after["service"]["phase"] == "stopped"
    assert after["runs"] == during["runs"]
    text = station.command("status").stdout
    assert "down (stopped at" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_restart_does_nothing_when_all_is_done(station):
    """Started again, it leaves every byte alone and says nothing of the run."""
    make_run(station.data)
    station.start()
    station.wait_for("run.completed")
    assert station.stop() == 0
    held = snapshot(station.l0) | snapshot(station.l1)
    station.start()
    station.rescans()
    assert station.names("run.", "stream.", "l1.") == []
    assert station.stop() == 0
    assert snapshot(station.l0) | snapshot(station.l1) == held


def test_without_its_ledger_it_finds_out_from_the_stores(station):
    """A deleted state directory costs a look into the stores, and changes none of them."""
    make_run(station.data)
    station.start()
    station.wait_for("run.completed")
    station.stop()
    held = snapshot(station.l0) | snapshot(station.l1)
    shutil.rmtree(station.state)
    station.start()
    station.wait_for("run.completed", n_quarantined=0, n_frames=500)
    assert station.find("stream.committed") == []
    assert station.find("l1.started") == []
    station.stop()
    assert snapshot(station.l0) | snapshot(station.l1) == held


@pytest.mark.parametrize(
    "event",
    [
        "stream.committed",
        pytest.param("stream.closed", marks=pytest.mark.slow),
        pytest.param("l1.started", marks=pytest.mark.slow),
    ],
)
def test_a_kill_during_the_work_loses_nothing(station, tmp_path, event):
    """SIGKILL while it works, started again: the stores equal those of an undisturbed service."""
    run = make_run(station.data, *MANY)
    station.start()
    station.wait_for(event)
    station.kill()
    assert station.status()["exit_code"] == 2
    station.start()
    station.wait_for("run.completed", n_streams=2, n_quarantined=0, n_frames=20_000)
    station.stop()
    for stream in (IMG, PH):
        assert station.command_verify(stream, run) == 0
    other_base = tmp_path / "undisturbed"
    other_base.mkdir()
    with Station(other_base) as other:
        shutil.copytree(station.data, other.data, dirs_exist_ok=True)
        other.start()
        other.wait_for("run.completed")
        other.stop()
        for mine, theirs in ((station.l0, other.l0), (station.l1, other.l1)):
            assert stores(mine) == stores(theirs)
            for name in stores(mine):
                assert chunk_digests(mine / name) == chunk_digests(theirs / name)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_stop_during_the_work_keeps_what_is_committed(station, number):
    """A signal in the middle: exit 0 soon, and the next start goes on from the last commit."""
    make_run(station.data, StreamPlan("img16", 1, 20_000))
    station.start()
    committed = station.wait_for("stream.committed")["n_frames"]
    assert station.stop(number) == 0
    assert station.find("run.completed") == []
    n_kept = station.find("stream.committed")[-1]["n_frames"]
    assert committed <= n_kept < 20_000
    station.start()
    first = station.wait_for("stream.committed")
    assert first["n_frames"] - first["n_new_frames"] == n_kept
    station.wait_for("run.completed", n_frames=20_000)
    assert station.stop() == 0


def test_one_broken_stream_does_not_stop_the_others(station):
    """A stream without a header is quarantined; it is done when its file is mended."""
    run = make_run(station.data, markers=())
    (file,) = [file for file in frame_files(run) if "ph256" in file.name]
    whole = file.read_bytes()
    file.write_bytes(b"x" * len(whole))
    mark_finished(run)
    station.start()
    reason = station.wait_for("stream.quarantined", stream=PH)["reason"]
    assert "no readable ph256 header" in reason
    station.wait_for("run.completed", n_quarantined=1)
    status = station.wait_for_status(lambda s: s["totals"]["n_quarantined"] == 1)
    assert status["exit_code"] == 1
    station.wait_for_states(**{IMG: "done", PH: "quarantined"})
    station.stop()

    station.start()
    station.rescans()
    assert station.names("stream.") == []
    overwrite(file, whole)
    station.wait_for("run.completed", n_quarantined=0)
    assert station.wait_for_status(lambda s: s["totals"]["n_done"] == 2)["exit_code"] == 0


def test_a_late_file_opens_the_stream_again(station):
    """A seqno that arrives after the close is appended, and the L1 made again."""
    streams = (StreamPlan("img16", 1, 300),)
    run = make_run(station.data, *streams, markers=(), max_file_size_mb=0.4)
    files = frame_files(run)
    assert len(files) == 2
    late = station.base / "late"
    files[1].rename(late)
    mark_finished(run)
    station.start()
    station.wait_for("run.completed")
    n_first = station.find("stream.closed")[0]["n_frames"]
    late.rename(files[1])
    station.wait_for("run.completed", n_frames=300)
    second = station.find("stream.closed")[1]
    assert second["n_new_frames"] == 300 - n_first
    assert len(station.find("l1.finished")) == 2
    assert station.command_verify(IMG, run) == 0


def test_what_is_deleted_after_the_close_is_removed_and_not_done_again(station):
    """A deleted L0 store, then a deleted run: no error, nothing is made again, also later."""
    gone, kept = make_run(station.data, day=25), make_run(station.data, day=26)
    station.write_config(recheck_s=0.5)
    station.start()
    for run in (gone, kept):
        station.wait_for("run.completed", run=run.name)
    shutil.rmtree(station.l0 / f"{kept.name}.{IMG}.zarr")
    shutil.rmtree(gone)
    station.wait_for("run.removed", run=gone.name)
    status = station.wait_for_status(
        lambda s: (
            [r["state"] for r in s["runs"]] == ["removed", "done"]
            and s["runs"][1]["streams"][0]["state"] == "removed"
        )
    )
    assert status["exit_code"] == 0
    station.stop()
    station.start()
    station.rescans()
    assert station.names("stream.", "l1.") == []
    assert f"{kept.name}.{IMG}.zarr" not in stores(station.l0)


def test_a_retry_does_what_was_removed_and_a_rebuild_does_all_again(station):
    """Requests are carried out by the running service, or at its next start."""
    run = make_run(station.data)
    station.start()
    station.wait_for("run.completed")
    ids = [store_id(station.l0 / f"{run.name}.{s}.zarr") for s in (IMG, PH)]
    assert station.command("retry", "nothing.pffd").returncode == 1
    done = station.command("retry", "--rebuild", str(run))
    assert (done.returncode, "now" in done.stdout) == (0, True)
    station.wait_for("run.completed", 2)
    assert [store_id(station.l0 / f"{run.name}.{s}.zarr") for s in (IMG, PH)] != ids
    assert len(station.find("l1.finished")) == 4
    station.stop()
    done = station.command("retry", run.name)
    assert (done.returncode, "when the service starts" in done.stdout) == (0, True)
    station.start()
    station.wait_for("run.retried", run=run.name, rebuild=False)
    station.wait_for("run.completed")
    assert station.names("stream.", "l1.") == []
    station.wait_for_status(lambda s: not os.listdir(station.state / "requests"))


def store_id(store: Path) -> str:
    return json.loads((store / "zarr.json").read_bytes())["attributes"]["store_id"]


@pytest.mark.slow
def test_a_retry_makes_l1_stores_of_other_settings_again(station):
    """A changed config recomputes nothing by itself; a retry makes the L1 that differs."""
    run = make_run(station.data, StreamPlan("img16", 1, 300))
    station.start()
    station.wait_for("run.completed")
    station.stop()
    station.write_config("[baseline_subtract]\nbaseline_window = 50")
    station.start()
    station.rescans()
    assert station.names("l1.") == []
    station.command("retry", run.name)
    station.wait_for("l1.finished")
    station.wait_for("run.completed")
    l1 = station.l1 / f"{run.name}.{IMG}_L1.zarr" / "zarr.json"
    assert json.loads(l1.read_bytes())["attributes"]["settings"]["baseline_window"] == 50


@pytest.mark.slow
def test_a_missing_l1_is_made_at_the_next_start(station):
    """A closed L0 without its L1 gets one, and nothing else is done."""
    run = make_run(station.data)
    station.start()
    station.wait_for("run.completed")
    station.stop()
    shutil.rmtree(station.l1 / f"{run.name}.{IMG}_L1.zarr")
    station.start()
    station.wait_for("l1.finished", stream=IMG)
    station.rescans()
    assert station.names("stream.") == []
    assert len(station.find("l1.started")) == 1


@pytest.mark.slow
def test_names_that_could_do_harm_are_refused_and_the_service_stays_up(station, tmp_path):
    """Control characters, bytes that are not UTF-8, long names, links out of the root."""
    outside = make_run(tmp_path / "elsewhere")
    link = station.data / outside.name
    link.symlink_to(outside)
    names = [b"evil\n{}.pffd", b"bytes-\xff\xfe.pffd", b"n" * 220 + b".pffd"]
    for name in names:
        os.mkdir(os.path.join(os.fsencode(station.data), name))
    station.start()
    station.wait_for("run.refused", 4)
    run = make_run(station.data, day=26)
    station.wait_for("run.completed", run=run.name)
    station.rescans()
    assert len(station.find("run.refused")) == 4
    assert station.names("run.discovered") == ["run.discovered"]
    assert all(name.startswith(run.name) for name in stores(station.l0))
    station.wait_for_status(lambda s: len(s["roots"][0]["refused"]) == 4)
    assert station.command("status").returncode == 0


def test_one_run_name_under_two_roots(station, tmp_path):
    """The second root's run of the same name is refused; the first one's is done."""
    second = tmp_path / "second"
    station.write_config(data_root=[str(station.data), str(second)])
    run = make_run(station.data)
    station.start()
    station.wait_for("run.completed")
    shutil.copytree(run, second / run.name)
    refused = station.wait_for("run.refused", run=run.name)
    assert refused["root"] == str(second)
    assert station.find("root.paused", root=str(second))
    assert station.find("root.resumed", root=str(second))


@pytest.mark.slow
def test_a_root_that_vanishes_pauses_and_comes_back(station):
    """A missing data root is waited for; nothing is judged removed meanwhile."""
    make_run(station.data)
    station.start()
    station.wait_for("run.completed")
    away = station.base / "away"
    station.data.rename(away)
    assert "is missing" in station.wait_for("root.paused")["reason"]
    station.data.mkdir()
    station.rescans()
    assert station.find("run.removed") == []
    status = station.wait_for_status(lambda s: "empty" in (s["roots"][0]["paused"] or ""))
    assert status["totals"]["n_done"] == 2
    station.data.rmdir()
    away.rename(station.data)
    station.wait_for("root.resumed")
    station.rescans()
    assert station.names("stream.quarantined", "run.removed") == []


def test_a_run_of_empty_files_completes_with_no_stream(station):
    """Zero-byte frame files are normal: no stream, no store, no error."""
    run = make_run(station.data, StreamPlan("img16", 1, 0))
    station.start()
    done = station.wait_for("run.completed", run=run.name)
    assert (done["n_streams"], done["n_quarantined"]) == (0, 0)
    assert stores(station.l0) == []


def test_a_cut_file_is_ingested_as_far_as_it_is_whole_and_reported(station):
    """A file whose last frame is cut makes one warning, in the log and in the status."""
    run = make_run(station.data, StreamPlan("img16", 1, 300), markers=())
    (file,) = frame_files(run)
    os.truncate(file, file.stat().st_size - 100)
    mark_finished(run)
    station.start()
    station.wait_for("run.completed", n_frames=299)
    (cut,) = station.find("file.cut_short")
    assert file.name in cut["reason"]
    status = station.wait_for_status(lambda s: s["runs"][0]["warnings"])
    assert file.name in status["runs"][0]["warnings"][0]


@pytest.mark.slow
def test_a_run_that_grows_is_left_alone(station):
    """With its marker there, a file that still grows keeps the run waiting."""
    station.write_config(settle_s=1.0, rescan_s=0.2)
    run = make_run(station.data, StreamPlan("img16", 1, 300), markers=())
    (file,) = frame_files(run)
    whole = file.read_bytes()
    frame_bytes = len(whole) // 300
    file.write_bytes(whole[: 100 * frame_bytes])
    mark_finished(run)
    station.write_config(settle_s=3)
    station.start()
    for n_frames in range(110, 310, 10):
        with file.open("ab") as grown:
            grown.write(whole[(n_frames - 10) * frame_bytes : n_frames * frame_bytes])
        station.rescans(1)
    assert station.find("run.finished") == []
    station.wait_for("run.completed", n_frames=300)


def test_a_second_service_on_the_same_state_is_refused(station):
    """The second start fails with a line that names the first one's pid."""
    station.start()
    second = station.command("serve")
    assert second.returncode == 1
    assert f"pid {station.pid}" in second.stderr
    assert station.stop() == 0


@pytest.mark.parametrize("key", ["data_root", "l0_dir", "l1_dir", "state_dir"])
def test_a_missing_directory_key_is_named(station, key):
    """Without a directory that it needs, the service exits 2 and says which."""
    station.write_config(**{key: None})
    done = station.command("serve")
    assert done.returncode == 2
    assert f"daemon.{key}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_sighup_reads_the_configuration_again(station):
    """What can hold at once holds; what cannot is named; a wrong file changes nothing."""
    run = make_run(station.data, markers=())
    station.write_config(settle_s=0.3, rescan_s=0.3)
    station.start()
    station.write_config(quiet_s=0.5, watch="polling")
    station.process.send_signal(signal.SIGHUP)
    reloaded = station.wait_for("config.reloaded")
    assert reloaded["changed"] == ["daemon.quiet_s"]
    assert reloaded["needs_restart"] == ["daemon.watch"]
    station.wait_for("run.completed", run=run.name)
    station.config.write_text("[daemon]\nsettle = 3\n")
    station.process.send_signal(signal.SIGHUP)
    assert "settle_s" in station.wait_for("config.refused")["reason"]
    assert station.stop() == 0


def test_too_little_free_disk_pauses_the_queue(station):
    """min_free_gb above what there is: paused, and resumed by a new configuration."""
    station.write_config(min_free_gb=1e6)
    make_run(station.data)
    station.start()
    station.wait_for("run.finished")
    assert "free" in station.wait_for("queue.paused")["reason"]
    station.rescans()
    assert stores(station.l0) == []
    station.write_config()
    station.process.send_signal(signal.SIGHUP)
    station.wait_for("queue.resumed")
    station.wait_for("run.completed", n_quarantined=0)


def test_the_oldest_run_goes_first(station):
    """With one stream at a time, the runs there at the start are done by their start time."""
    for day in (27, 25, 26):
        make_run(station.data, StreamPlan("img16", 1, 2000), day=day)
    station.write_config(max_streams=1, settle_s=1.0)
    station.start()
    station.wait_for("run.completed", 3)
    closed = [event["run"] for event in station.find("stream.closed")]
    assert closed == sorted(closed)


def test_an_archive_is_left_alone(station):
    """Runs that started before ignore_before are not touched."""
    for day in (20, 26):
        make_run(station.data, StreamPlan("img16", 1, 100), day=day)
    text = station.config.read_text()
    line = "[daemon]\nignore_before = 2024-07-25"
    station.config.write_text(text.replace("[daemon]", line))
    station.start()
    station.wait_for("run.completed")
    station.rescans()
    assert len(station.find("run.discovered")) == 1
    assert len(stores(station.l0)) == 1


def test_metrics_are_served_on_loopback(station, port):
    """With a port set, Prometheus finds frames, bytes, lag and backlog."""
    import urllib.request

    station.write_config(f"[metrics]\nport = {port}")
    make_run(station.data)
    station.start()
    station.wait_for("run.completed")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S) as page:
        lines = page.read().decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    names = {name.removeprefix("panoseti_zarr_"): float(value) for name, value in values.items()}
    assert names['frames_total{product="img16"}'] == 300
    assert names['frames_total{product="ph256"}'] == 200
    assert names["lag_seconds"] > 0
    assert names['marker_to_l0_seconds_count{product="img16"}'] == 1
    assert names['marker_to_l1_seconds_count{product="ph256"}'] == 1
    assert names['free_disk_bytes{directory="l0_dir"}'] > 0
    assert (names["workers"], names["paused"], names["ready"]) == (1, 0, 1)
    assert names["task_slots"] >= 1
    assert names["last_commit_timestamp_seconds"] > 1.7e9


@pytest.mark.slow
def test_the_service_works_on_a_dask_cluster_and_survives_a_worker(station):
    """Local Dask workers do the work; one that is killed is replaced and the run completes."""
    import psutil

    cluster = "[cluster]\nuse_cluster = true\n[cluster.local]\nn_workers = 1\ndashboard_port = 0"
    station.write_config(cluster)
    make_run(station.data, StreamPlan("img16", 1, 20_000))
    station.start()
    station.wait_for("stream.committed")
    workers = [
        child
        for child in psutil.Process(station.pid).children(recursive=True)
        if "spawn_main" in " ".join(child.cmdline())
    ]
    for worker in workers:
        worker.kill()
    station.wait_for("cluster.worker_lost")
    station.wait_for("run.completed", n_frames=20_000, n_quarantined=0)
    assert station.stop() == 0
    assert not any(line.strip() for line in station.other_lines), station.other_lines


def test_nothing_is_writable_for_everybody(station):
    """Whatever the umask, files and directories are not world-writable."""
    umask = os.umask(0)
    try:
        make_run(station.data)
        station.start()
        station.wait_for("run.completed")
        station.stop()
    finally:
        os.umask(umask)
    for place in (station.l0, station.l1, station.state):
        for path in (place, *place.rglob("*")):
            assert not path.stat().st_mode & 0o002, path


@pytest.fixture
def mount(tmp_path):
    """Mount small file systems below a test's directory, where that is allowed."""
    need(root=True)
    mounted = []

    def mount_at(place: Path, size: str = "64m") -> None:
        place.mkdir(exist_ok=True)
        words = ["mount", "-t", "tmpfs", "-o", f"size={size}", place.name, str(place)]
        subprocess.run(words, capture_output=True, check=True)
        mounted.append(place)

    yield mount_at
    for place in reversed(mounted):
        subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)


@pytest.mark.slow
@pytest.mark.root
def test_an_unmounted_data_root_is_waited_for(station, mount):
    """Unmounted under the service, the root is paused; mounted again, it goes on."""
    make_run(station.data, day=20)
    aside = station.base / "aside"
    station.data.rename(aside)
    mount(station.data)
    shutil.copytree(aside, station.data, dirs_exist_ok=True)
    station.start()
    station.wait_for("run.completed")
    subprocess.run(["umount", str(station.data)], check=True)
    assert "empty where it was not" in station.wait_for("root.paused")["reason"]
    station.rescans()
    assert station.find("run.removed") == []
    (station.data / "stray.pffd").mkdir()
    station.rescans()
    station.wait_for_status(lambda s: "another file system" in s["roots"][0]["paused"])
    assert station.find("run.removed") == []


@pytest.mark.slow
@pytest.mark.root
def test_nothing_is_written_into_a_bare_mount_point(station, mount):
    """With the stores' file system unmounted, the queue waits, also over a restart."""
    mount(station.l0)
    make_run(station.data, day=20)
    station.start()
    station.wait_for("run.completed")
    subprocess.run(["umount", str(station.l0)], check=True)
    assert "l0_dir" in station.wait_for("queue.paused")["reason"]
    run = make_run(station.data, day=21)
    station.wait_for("run.discovered", run=run.name)
    station.rescans(6)
    assert os.listdir(station.l0) == []
    station.stop()
    station.start()
    station.wait_for("queue.paused")
    station.rescans(6)
    assert os.listdir(station.l0) == []
    station.wait_for_states(others="done")
    mount(station.l0)
    station.wait_for("run.completed", run=run.name)


@pytest.fixture
def dask(port):
    """A Dask scheduler on a fixed port and its workers, each of which can be ended."""
    processes = []

    def start(kind: str) -> subprocess.Popen:
        address = f"tcp://127.0.0.1:{port}"
        words = {
            "scheduler": f"--host 127.0.0.1 --port {port} --dashboard-address 127.0.0.1:0",
            "worker": f"{address} --host 127.0.0.1 --nthreads 1 --no-dashboard",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", kind, *words[kind].split()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(),
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_cluster_that_others_run_is_waited_for_and_found_again(station, dask, port):
    """No scheduler at first; then one that is killed in the middle and started again."""
    address = f'scheduler_address = "tcp://127.0.0.1:{port}"'
    cluster = f'[cluster]\nuse_cluster = true\ntype = "address"\n{address}'
    station.write_config(cluster, retry_s=0.5)
    make_run(station.data, StreamPlan("img16", 1, 10_000))
    station.start(ready=False)
    station.wait_for("run.finished")
    assert station.status()["service"]["phase"] == "starting"
    scheduler = dask("scheduler")
    dask("worker")
    station.wait_for("stream.committed")
    scheduler.kill()
    scheduler.wait()
    station.wait_for("cluster.lost")
    dask("scheduler")
    dask("worker")
    station.wait_for("cluster.connected")
    station.wait_for("run.completed", n_frames=10_000, n_quarantined=0)
    assert station.stop() == 0


@pytest.mark.slow
def test_a_stop_while_the_cluster_is_looked_for_is_prompt(station, port):
    """Nobody answers: SIGTERM still ends the service at once, with exit code 0."""
    address = f'scheduler_address = "tcp://127.0.0.1:{port}"'
    station.write_config(f'[cluster]\nuse_cluster = true\ntype = "address"\n{address}')
    station.start(ready=False)
    station.wait_for("root.scanned")
    assert station.stop() == 0
    assert station.names("service.")[-1] == "service.stopped"
