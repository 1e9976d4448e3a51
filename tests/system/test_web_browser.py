"""The status page as a person sees it: in headless Chromium."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.browser import Browser
from support.needs import lack
from support.service_process import make_run
from support.state_driver import listed_machine

from panoseti_zarr.daemon.state.records import StreamStatus
from panoseti_zarr.daemon.status.document import ProcessInfo, build_status
from panoseti_zarr.daemon.web.server import StatusPage
from panoseti_zarr.io.simulate import StreamPlan

WHY_NOT = lack("chromium", "chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT),
]

EVIL = "obs_<script>alert(1)<img src=x onerror=alert(2)>.start_2024-07-27T04:34:06Z.pffd"
N_RUNS = 2000


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """One window for all tests here."""
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def test_the_page_follows_the_service_without_reload(web_station, port, browser, tmp_path):
    """A run that arrives appears, then it is done, then the service ends: all without a reload."""
    make_run(web_station.data)
    web_station.start()
    web_station.wait_for("run.completed")
    browser.resize(1280, 1000)
    browser.open(port)
    assert browser.text("#live").endswith("live")
    assert browser.text("#words") == "idle; 1 run done"
    assert browser.count(".run[data-state=done]") == 1
    browser.run("window.isTheSamePage = true")
    run = make_run(web_station.data, StreamPlan("img16", 1, 300), day=26)
    browser.wait(lambda: run.name in browser.text(".run .name"))
    browser.wait(lambda: browser.count(".run[data-state=done]") == 2)
    assert browser.text(".run .name").splitlines()[0] == run.name
    assert "committed in 3 h" in browser.text("figcaption")
    assert "run.completed" in browser.text("#lines")
    browser.picture("a_run_done", tmp_path)
    assert web_station.stop() == 0
    browser.wait(lambda: "no connection" in browser.text("#live"))
    assert browser.run("return window.isTheSamePage")
    assert not [line for line in browser.complaints() if "ERR_CONNECTION" not in line]


def test_a_night_with_defects_shows_its_remedy(web_station, port, browser, tmp_path):
    """Reasons and commands; a name that looks like a script is text and nothing else."""
    make_run(web_station.data).rename(web_station.data / EVIL)
    good = make_run(web_station.data, StreamPlan("img16", 1, 300))
    shrunk = make_run(web_station.data, StreamPlan("img16", 1, 600), day=26)
    web_station.start()
    web_station.wait_for("run.completed", 3)
    (frames,) = [f for f in shrunk.glob("*dp_img16*.pff") if f.stat().st_size > 0]
    with open(frames, "r+b") as file:
        file.truncate(frames.stat().st_size - 20_000)
    (shrunk / "noticed").touch()
    web_station.wait_for("stream.quarantined")
    make_picture(web_station.state / "quicklook", f"{good.name}.dp_img16.module_1.zarr.png")
    browser.resize(1280, 1200)
    browser.open(port)
    command = f"panoseti-zarr retry --config {web_station.config} --rebuild {shrunk.name}"
    browser.wait(lambda: browser.text("#action-list code") == command)
    assert "shrank" in browser.text("#action-list .reason")
    assert EVIL in browser.text(".run .name").splitlines()
    assert browser.count("script") == 1
    assert browser.count("img[src=x]") == 0
    browser.wait(lambda: browser.count(".run") == 3)
    browser.run("document.querySelectorAll('.run:not([open]) summary').forEach((s) => s.click())")
    loaded = "return [...document.querySelectorAll('.pictures img')].map((i) => i.naturalWidth)"
    browser.wait(lambda: browser.run(loaded) == [64])
    browser.picture("a_night_with_defects", tmp_path)
    browser.resize(390, 844, is_dark=True)
    assert browser.run("return document.documentElement.scrollWidth") == 390
    browser.picture("on_a_phone", tmp_path)
    choose = "document.querySelector('input[value=quarantined]').click()"
    browser.run(choose)
    assert browser.text(".run .name").splitlines()[0] == shrunk.name
    assert browser.count(".run") == 1
    assert not browser.complaints()


def make_picture(directory: Path, name: str) -> None:
    """Draw an image of 64 x 64 pixels."""
    from PIL import Image

    directory.mkdir()
    Image.linear_gradient("L").resize((64, 64)).save(directory / name)


@pytest.fixture
def archive():
    """The state of a service with 2,000 runs of two streams."""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    times = [(start + timedelta(seconds=n)).isoformat()[:19] for n in range(N_RUNS)]
    names = [f"obs_Lick.start_{time}Z.runtype_sci-data.pffd" for time in times]
    state = listed_machine(names, "dp_img16.module_1", "dp_ph256.module_1")
    for run in state.runs.values():
        run.completed_s = 0.0
        for stream in run.streams.values():
            stream.status, stream.n_frames, stream.n_bytes = StreamStatus.DONE, 10**6, 10**9
    return state


def test_two_thousand_runs_load_and_change(archive, port, browser, tmp_path):
    """The newest 100 are shown, a change of one is seen, and a click shows more."""
    info = ProcessInfo(7, "1.0", "host", None, 0, "in process")
    page = StatusPage(port, tmp_path)
    try:
        page.show(build_status(archive, info, 0, 0), None)
        browser.resize(1280, 900)
        browser.open(port)
        assert browser.text("#n-runs") == f"{N_RUNS:,}"
        assert browser.count(".run") == 100
        newest = list(archive.runs.values())[-1]
        newest.streams["dp_img16.module_1"].n_frames = 1234567
        page.show(build_status(archive, info, 0, 0), None)
        browser.wait(lambda: "2,234,567 frames" in browser.text(".run .facts"))
        browser.run("document.getElementById('more').click()")
        assert browser.count(".run") == 200
        browser.picture("two_thousand_runs", tmp_path)
        search = "const t = document.getElementById('text'); t.value = '00:00:07';"
        browser.run(search + "t.dispatchEvent(new Event('input'))")
        assert browser.count(".run") == 1
        assert browser.text("#n-runs") == f"1 of {N_RUNS:,}"
        assert not browser.complaints()
    finally:
        page.close()
