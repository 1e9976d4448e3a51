"""The service under a real systemd: started, watched over, interrupted in every way, its journal.

Each interruption comes in the middle of a run; afterwards the stores must equal, chunk by chunk,
those of a conversion that nothing disturbed.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.needs import lack
from support.service_process import environment, make_run
from support.stores import chunk_digests, frame_files
from systemd_box import Box, reason_for_none
from systemd_server import (
    CONFIG,
    DATA,
    L0,
    L1,
    PREFIX,
    REPOSITORY,
    STATE,
    UNIT,
    Server,
    bindings,
)

from panoseti_zarr.io.simulate import StreamPlan

WHY_NOT = reason_for_none()
pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

IMG, PH = "dp_img16.module_1", "dp_ph256.module_2"
N_IMG, N_PH = 16_000, 4_000


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A server on which the service was installed."""
    base = tmp_path_factory.mktemp("systemd")
    with Box(base, bindings()) as box:
        server = Server(box)
        server.install()
        yield server
        server.unfollow()


@pytest.fixture
def server(machine):
    """That server, with nothing on it."""
    machine.reset()
    return machine


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """A run, and its stores as the commands make them: (run, digests of all chunks)."""
    base = tmp_path_factory.mktemp("night")
    run = make_run(base, StreamPlan("img16", 1, N_IMG), StreamPlan("ph256", 2, N_PH))
    config = base / "config.toml"
    config.write_text(CONFIG.replace("use_cluster = true", "use_cluster = false"))
    words = ["run", run, base / "l0", base / "l1", "--config", config]
    command = [sys.executable, "-m", "panoseti_zarr", *map(str, words)]
    subprocess.run(command, env=environment(), check=True, capture_output=True)
    return run, digests(base / "l0", base / "l1")


@pytest.fixture
def say(capsys):
    """Put a line into the log of the tests, also where they pass."""

    def tell(text: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{text}\n")

    return tell


def digests(*directories: Path) -> dict[str, dict[str, str]]:
    """Return the digest of every chunk of every store, by store and path."""
    return {
        store.name: chunk_digests(store)
        for directory in directories
        for store in directory.glob("*.zarr")
    }


def drop_in_run(server: Server, run: Path) -> None:
    """Copy a run into the data root, its directory in one step."""
    place = server.box.path(DATA)
    shutil.copytree(run, place / ".arriving")
    (place / ".arriving").rename(place / run.name)


def test_it_starts_ingests_and_reloads(server, say):
    """READY with a local cluster; a run becomes stores; a reload holds at once."""
    server.start()
    assert server.show("StatusText") == "idle; 0 runs done"
    run = make_run(server.box.path(DATA))
    server.wait_for("run.completed", n_streams=2, n_quarantined=0, n_frames=500)
    server.wait_until(lambda: server.show("StatusText") == "idle; 1 run done")
    assert server.box.run("ls", L1).stdout.split() == [
        f"{run.name}.{stream}_L1.zarr" for stream in (IMG, PH)
    ]
    pid = server.main_pid()
    config = CONFIG.replace("settle_s = 0.3", "settle_s = 0.4")
    server.box.path("/etc/panoseti-zarr/config.toml").write_text(config)
    server.systemctl("reload", UNIT)
    server.wait_for("config.reloaded", changed=["daemon.settle_s"], needs_restart=[])
    assert server.main_pid() == pid


def test_it_may_read_the_data_and_write_its_own_places_only(server):
    """As its user in its view of the file system: the data root, /etc, /opt are read-only."""
    make_run(server.box.path(DATA))
    server.start()
    server.wait_for("run.completed")
    pid = str(server.main_pid())
    inside = ("nsenter", "--target", pid, "--mount", "--", "sh", "-c")
    for place, may in ((DATA, False), ("/etc", False), (PREFIX, False), (L0, True), (STATE, True)):
        done = server.box.run(*inside, f"touch {place}/x && rm {place}/x", check=False)
        assert (done.returncode == 0) is may, (place, done.stderr)
        assert may or "Read-only file system" in done.stderr
    others = server.box.run("find", L0, L1, STATE, "-perm", "/o=rwx", "-not", "-type", "l")
    assert others.stdout == ""
    foreign = server.box.run("find", L0, L1, STATE, "-not", "-user", "panoseti-zarr")
    assert foreign.stdout == ""


def stop_and_start(server: Server) -> None:
    server.systemctl("stop", UNIT)
    assert server.show("Result") == "success"
    server.systemctl("start", UNIT)


def kill(server: Server) -> None:
    server.systemctl("kill", "--kill-whom=main", "--signal=KILL", UNIT)
    server.wait_until(lambda: server.show("NRestarts") == "1")


def freeze(server: Server) -> None:
    server.systemctl("kill", "--kill-whom=main", "--signal=STOP", UNIT)
    server.wait_until(lambda: server.show("NRestarts") == "1")
    assert any("Watchdog timeout" in line for line in unit_messages(server))


def reboot(server: Server) -> None:
    server.unfollow()
    server.box.reboot()
    server.follow(since_boot=True)


def unit_messages(server: Server) -> list[str]:
    """Return what systemd itself said of the unit since boot."""
    words = ("journalctl", "--boot", "--unit", UNIT, "--output=cat", "_PID=1")
    return server.box.run(*words).stdout.splitlines()


@pytest.mark.parametrize("interrupt", [stop_and_start, kill, freeze, reboot])
def test_an_interrupted_run_is_finished_and_identical(server, night, interrupt):
    """Stopped, killed, frozen, rebooted in the middle: it comes back, nothing is lost or left."""
    run, expected = night
    server.start()
    before = server.processes()
    drop_in_run(server, run)
    server.wait_for("stream.committed")
    interrupt(server)
    assert not server.find("run.completed") or interrupt is reboot
    server.wait_for("service.ready", 1 if interrupt is reboot else 2)
    if interrupt is not reboot:
        assert not before & server.processes()
    server.wait_for("run.completed", n_frames=N_IMG + N_PH, n_quarantined=0)
    assert server.find("run.progress", run=run.name, n_streams=2)
    assert digests(server.box.path(L0), server.box.path(L1)) == expected
    assert len(server.processes()) == len(before)


def test_a_full_disk_pauses_the_queue_and_the_status_says_so(server, night):
    """Full in the middle of a run: paused, in STATUS too; with room again it goes on by itself."""
    run, expected = night
    server.box.run("mount", "-t", "tmpfs", "-o", "size=80m,mode=2770", "disk", L0)
    try:
        server.box.run("chown", "panoseti-zarr:panoseti-zarr", L0)
        server.start()
        drop_in_run(server, run)
        server.wait_for("stream.committed")
        full = server.box.run("dd", "if=/dev/zero", f"of={L0}/.filler", "bs=1M", check=False)
        assert "No space left" in full.stderr
        assert "0.0 GB free" in server.wait_for("queue.paused")["reason"]
        assert not server.find("run.completed")
        server.wait_until(
            lambda: server.show("StatusText").startswith("paused: l0_dir has 0.0 GB free")
        )
        assert server.show("ActiveState") == "active"
        server.box.run("rm", f"{L0}/.filler")
        server.wait_for("queue.resumed")
        server.wait_for("run.completed", n_frames=N_IMG + N_PH, n_quarantined=0)
        assert digests(server.box.path(L0), server.box.path(L1)) == expected
    finally:
        server.systemctl("stop", UNIT)
        server.box.run("umount", L0)


def test_the_journal_has_priorities(server):
    """`journalctl -p warning` shows what matters and nothing else, each line an event."""
    run = make_run(server.box.path(DATA), markers=())
    (file,) = (file for file in frame_files(run) if "ph256" in file.name)
    file.write_bytes(b"x" * file.stat().st_size)
    (run / "run_complete").touch()
    server.start()
    server.wait_for("run.completed", n_quarantined=1)
    assert {e["level"]: e["priority"] for e in server.entries} == {"info": 6, "error": 3}
    words = ("journalctl", "--unit", UNIT, "--output=cat", f"_PID={server.main_pid()}")
    loud = server.box.run(*words, "--priority=warning").stdout.splitlines()
    assert [json.loads(line)["event"] for line in loud] == ["stream.quarantined"]
    assert len(server.box.run(*words).stdout.splitlines()) == len(server.entries)


@pytest.mark.skipif(bool(lack("jq")), reason=lack("jq"))
def test_the_readme_s_examples_of_jq_show_the_log(server):
    """Every pipe of the README into jq works on the journal as it is, systemd's lines included."""
    make_run(server.box.path(DATA))
    server.start()
    server.wait_for("run.completed")
    text = (REPOSITORY / "README.md").read_text()
    examples = re.findall(r"^(journalctl .* \| jq .*?)(?: +#.*)?$", text, re.MULTILINE)
    assert len(examples) >= 3
    for example in examples:
        done = server.box.run("sh", "-c", example.replace(" -f ", " "))
        assert done.stdout, example
        assert done.stderr == "", example


def test_systemd_rates_the_installed_unit(server, say):
    """systemd-analyze rates the exposure at 2.0 at most; its figures are printed."""
    figures = server.box.run("systemd-analyze", "security", "--no-pager", UNIT).stdout
    say("\n".join(line for line in figures.splitlines() if not line.startswith("✓")))
    rating = re.search(r"Overall exposure level[^:]*: ([0-9.]+)", figures)
    assert float(rating[1]) <= 2.0
    assert server.box.run("systemd-analyze", "verify", "--man=no", UNIT).stderr == ""
