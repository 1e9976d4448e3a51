"""Installation on a real systemd: in place, upgraded, undone; other places; the readers."""

import json

import pytest
from support.service_process import make_run
from systemd_box import Box, reason_for_none
from systemd_server import (
    CONFIG,
    DATA,
    L0,
    L1,
    NAME,
    PREFIX,
    STATE,
    UNIT,
    Server,
    bindings,
)

from panoseti_zarr.io.simulate import StreamPlan

WHY_NOT = reason_for_none()
pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

CONFIG_PATH = f"/etc/{NAME}/config.toml"
PLACED = (
    f"/etc/systemd/system/{UNIT}",
    f"/etc/systemd/system/{UNIT}.d/10-directories.conf",
    f"/etc/sysusers.d/{NAME}.conf",
    f"/usr/local/bin/{NAME}",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server on which nothing was installed yet; the tests here go on from each other."""
    base = tmp_path_factory.mktemp("systemd")
    with Box(base, bindings()) as box:
        server = Server(box)
        yield server
        server.unfollow()


def test_make_install_puts_everything_in_place_and_upgrades_in_place(server):
    """The example works, on its Dask cluster; an upgrade keeps configuration, state and stores."""
    told = server.install()
    for path in (*PLACED, CONFIG_PATH, L0, L1):
        assert path in told
        assert exists(server, path)
    assert server.systemctl("is-enabled", UNIT).strip() == "enabled"
    example = server.box.path(CONFIG_PATH).read_text()
    # The machine's disk is small, and ten seconds are long.
    example = example.replace("min_free_gb = 10", "min_free_gb = 0.02")
    server.configure(example.replace("settle_s = 10", "settle_s = 0.3"))
    server.start()
    assert len(server.processes()) > 1, "there are no worker processes"
    make_run(server.box.path(DATA), StreamPlan("img16", 1, 300))
    server.wait_for("run.completed")
    server.wait_for("housekeeping.made")
    config = server.box.path(CONFIG_PATH).read_text()
    stores = server.box.run("ls", "-lR", L0, L1).stdout
    pid = server.main_pid()

    server.follow()
    told = server.install()
    assert "wrote" not in told
    server.wait_for("service.ready")
    assert server.main_pid() != pid
    assert server.box.path(CONFIG_PATH).read_text() == config
    assert server.box.run("ls", "-lR", L0, L1).stdout == stores
    assert server.find("run.discovered") == []
    assert json.loads(server.command("status", "--json").stdout)["totals"]["n_done"] == 1


def test_whoever_may_read_the_results_may_read_the_status(server):
    """A user of the group sees it, with the service up and down; others get one clear line."""
    server.box.run("useradd", "--groups", NAME, "reader")
    server.box.run("useradd", "stranger")
    done = server.command("status", user="reader")
    assert (done.returncode, done.stderr) == (0, "")
    assert "service: running" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert done.stdout.splitlines()[-1].startswith("total: 1 run, 1 stream, 1 done")
    store = server.box.run("ls", L0).stdout.split()[0]
    assert server.as_user("reader", "cat", f"{L0}/{store}/zarr.json").returncode == 0
    assert server.as_user("stranger", "ls", L0).returncode != 0
    stranger = server.command("status", user="stranger")
    assert stranger.returncode == 2
    assert "Permission denied" in stranger.stderr
    assert "Traceback" not in stranger.stderr
    server.systemctl("stop", UNIT)
    down = server.command("status", user="reader")
    assert down.returncode == 2
    assert "service: down (stopped at" in down.stdout
    assert "1 done" in down.stdout


def test_a_wrong_configuration_is_said_with_its_priority_and_not_tried_again(server):
    """One event, critical, that names the key; systemd leaves it at that."""
    server.configure(CONFIG.replace("settle_s", "setle_s"))
    server.follow()
    server.systemctl("start", UNIT, check=False)
    failed = server.wait_for("service.failed")
    assert failed["priority"] == 2
    assert "settle_s" in failed["reason"]
    assert server.show("ActiveState") == "failed"
    assert server.show("NRestarts") == "0"
    assert [entry["event"] for entry in server.entries] == ["service.failed"]
    server.systemctl("reset-failed", UNIT)


def test_other_places_are_taken_from_the_configuration(server):
    """Directories elsewhere, even in a home or with a blank: written there, and only there."""
    places = {DATA: "/home/obs/night data", L0: "/srv/L 0", L1: "/home/obs/L1", STATE: "/srv/state"}
    text = CONFIG.replace("use_cluster = true", "use_cluster = false")
    for usual, other in places.items():
        text = text.replace(f'"{usual}"', f'"{other}"')
    server.box.run("mkdir", "-p", places[DATA], "/home/obs/private")
    server.box.run("chmod", "700", "/home/obs")
    server.configure(text)
    server.box.run(f"{PREFIX}/bin/{NAME}", "install-service")
    assert server.box.run("systemd-analyze", "verify", "--man=no", UNIT).stderr == ""
    run = make_run(server.box.path(places[DATA]), StreamPlan("img16", 1, 300))
    server.start()
    server.wait_for("run.completed", n_quarantined=0)
    assert server.box.path(f"{places[L1]}/{run.name}.dp_img16.module_1_L1.zarr").exists()
    inside = ("nsenter", "--target", str(server.main_pid()), "--mount", "--")
    seen = server.box.run(*inside, "ls", "/home/obs").stdout.split()
    assert seen == ["L1", "night", "data"]
    done = server.box.run(*inside, "touch", f"{places[DATA]}/x", check=False)
    assert "Read-only" in done.stderr
    for place in (L0, L1, "/srv"):
        assert server.box.run(*inside, "touch", f"{place}/x", check=False).returncode != 0
    server.systemctl("stop", UNIT)


def test_it_can_be_undone(server):
    """The service goes without a trace in systemd, then configuration and state, then the program.

    Only the user and the stores stay.
    """
    before = server.box.run("ls", L0, STATE).stdout
    told = server.command("install-service", "--remove").stdout
    assert f"kept {STATE}" in told
    assert not any(exists(server, path) for path in PLACED)
    assert server.show("LoadState") == "not-found"
    assert exists(server, CONFIG_PATH)
    assert server.box.run("ls", L0, STATE).stdout == before
    server.command("install-service", "--remove", "--purge")
    assert not exists(server, f"/etc/{NAME}")
    assert not exists(server, STATE)
    server.uninstall()
    assert not exists(server, PREFIX)
    assert server.box.run("ls", L0).stdout in before


def exists(server: Server, path: str) -> bool:
    """Whether there is something of this name on the server."""
    return server.box.run("test", "-e", path, check=False).returncode == 0
