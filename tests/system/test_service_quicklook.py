"""The service and the pictures of its streams."""

import pytest
from PIL import Image
from support.service_process import Station, make_run

pytestmark = pytest.mark.slow

IMG, PH = "dp_img16.module_1", "dp_ph256.module_2"


@pytest.fixture
def station(tmp_path):
    """A station whose service makes pictures, and is killed in the end."""
    with Station(tmp_path, "[quicklook]") as place:
        yield place


def test_each_stream_gets_its_picture(station):
    """After its L1; in the state directory, readable; a restart makes none again."""
    station.start()
    run = make_run(station.data)
    for stream in (IMG, PH):
        made = station.wait_for("quicklook.made", stream=stream)
        path = station.state / "quicklook" / f"{run.name}.{stream}.png"
        assert (made["run"], made["path"]) == (run.name, str(path))
        with Image.open(path) as picture:
            picture.load()
            assert picture.width == 1000
        mine = [e["event"] for e in station.events if e.get("stream") == stream]
        assert mine.index("l1.finished") < mine.index("quicklook.made")
    assert station.stop() == 0
    station.start()
    station.rescans()
    assert station.names("quicklook.") == []
    assert station.stop() == 0


def test_pictures_that_cannot_be_made_harm_nothing(station):
    """Where their directory cannot be made there is one warning a stream, and all else is done."""
    (station.base / "file").touch()
    station.write_config(f'[quicklook]\ndir = "{station.base}/file/pictures"')
    station.start()
    run = make_run(station.data)
    station.wait_for("run.completed", n_quarantined=0, n_streams=2)
    for stream in (IMG, PH):
        failed = station.wait_for("quicklook.failed", stream=stream)
        assert "Not a directory" in failed["reason"]
        assert station.command_verify(stream, run) == 0
    status = station.wait_for_status(lambda s: s["totals"]["n_done"] == 2)
    assert status["exit_code"] == 0
    loud = [e["event"] for e in station.events if e["level"] not in {"debug", "info"}]
    assert loud == ["quicklook.failed"] * 2
    assert station.stop() == 0
