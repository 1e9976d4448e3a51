"""Plans of simulated runs, their small files, and defects as text; without a disk."""

import json
from datetime import UTC, datetime

import pytest

from panoseti_zarr.errors import ConfigError
from panoseti_zarr.io.simulate import MARKERS, RunPlan, StreamPlan, max_file_size_mb
from panoseti_zarr.io.simulate.config import config_files, housekeeping
from panoseti_zarr.io.simulate.defect_names import DEFECTS, parse_defect
from panoseti_zarr.io.simulate.defects import (
    BrokenHeader,
    CutTail,
    MissingQuabo,
    MissingSeqno,
    OtherLayout,
    StubFile,
    UnlockedClock,
    ZeroFrames,
)
from panoseti_zarr.io.simulate.frames import frame_blocks
from panoseti_zarr.model import StreamKey


def test_run_is_named_as_the_control_software_does():
    """The name has observatory, UTC start and run type; separators and the whole can be given."""
    start = datetime(2024, 7, 25, 4, 34, 6, tzinfo=UTC)
    plan = RunPlan((), observatory="Palomar", start=start, runtype="dark")
    assert plan.run_name == "obs_Palomar.start_2024-07-25T04:34:06Z.runtype_dark.pffd"
    key = StreamKey("img8", 3)
    name = plan.frame_file_name(key, 2, 60)
    assert name == "start_2024-07-25T04:35:06Z.dp_img8.bpp_1.module_3.seqno_2.pff"
    dashes = RunPlan((), start=start, time_separator="-")
    assert dashes.run_name == "obs_Lick.start_2024-07-25T04-34-06Z.runtype_sci-data.pffd"
    assert RunPlan((), name="other").run_name == "other"


def test_file_that_passes_the_largest_size_is_the_last_of_its_seqno():
    """A file ends with the frame that passes the size; one that is just full has an empty next."""
    stream = StreamPlan("img16", 1, 250)
    sizes = RunPlan((stream,), max_file_size_mb=100 * 2540 / 1e6).files(stream)
    assert [f.n_frames for f in sizes] == [101, 101, 48]
    assert [f.first_frame for f in sizes] == [0, 101, 202]
    mb = max_file_size_mb("img16", 125)
    assert [f.n_frames for f in RunPlan((stream,), max_file_size_mb=mb).files(stream)] == [
        125,
        125,
        0,
    ]
    assert len(RunPlan((stream,), max_file_size_mb=0).files(stream)) == 1


def test_images_of_a_module_share_a_seqno_counter_and_pulses_another():
    """The second image stream goes on where the first ended, in seqno and in time."""
    first, second = StreamPlan("img16", 1, 25), StreamPlan("img8", 1, 25)
    pulses, elsewhere = StreamPlan("ph256", 1, 25), StreamPlan("img8", 2, 25)
    plan = RunPlan(
        (first, second, pulses, elsewhere), max_file_size_mb=max_file_size_mb("img16", 10)
    )
    seqnos = {s.key: [f.seqno for f in plan.files(s)] for s in plan.streams}
    assert seqnos[first.key] == [0, 1, 2]
    assert seqnos[second.key] == [0, 3]
    assert seqnos[pulses.key] == [0]
    assert seqnos[elsewhere.key] == [0, 1]
    last_ns = list(frame_blocks(plan, first))[-1].time_ns[-1]
    assert next(frame_blocks(plan, second)).time_ns[0] > last_ns
    assert plan.stream_start_s(pulses) == plan.stream_start_s(first)


def test_config_files_are_those_of_a_real_run_with_a_password_in_a_url():
    """Every file is JSON; the power switch's URL has user name and password; modules are told."""
    plan = RunPlan((StreamPlan("img16", 254), StreamPlan("ph1024", 7)), max_file_size_mb=0.5)
    contents = {name: json.loads(text) for name, text in config_files(plan).items()}
    assert set(contents) == {
        f"{name}.json"
        for name in ("obs_config", "daq_config", "data_config", "quabo_uids", "sw_info")
    }
    assert contents["obs_config.json"]["wps"]["url"] == "http://admin:secret@192.0.2.10/"
    modules = contents["obs_config.json"]["domes"][0]["modules"]
    assert [m["ip_addr"] for m in modules] == ["192.168.0.28", "192.168.3.248"]
    assert contents["data_config.json"]["max_file_size_mb"] == 0.5


def test_housekeeping_has_an_object_a_line_and_blank_lines_between():
    """Every other line of hk.pff is empty, the others are JSON of one key."""
    lines = housekeeping(RunPlan((StreamPlan("img16", 3),)), 29).split("\n")
    assert not any(lines[1::2])
    names = [next(iter(json.loads(line))) for line in lines[:-1:2]]
    assert names == ["WPS", "GPSPRIM", "QUABO_12", "QUABO_13", "QUABO_14", "QUABO_15"]


@pytest.mark.parametrize(
    ("text", "defect"),
    [
        ("cut-tail", CutTail()),
        ("cut-tail@img16.3:n_bytes=7", CutTail(stream=StreamKey("img16", 3), n_bytes=7)),
        ("broken-header:frame=4", BrokenHeader(frame=4)),
        ("other-layout:frame=4", OtherLayout(frame=4)),
        ("missing-quabo:quabo=1,start=2,stop=9", MissingQuabo(quabo=1, start=2, stop=9)),
        ("zero-frames:stop=3", ZeroFrames(stop=3)),
        ("unlocked", UnlockedClock()),
        ("unlocked:quabo=1,d=99", UnlockedClock(quabo=1, d=99)),
        ("missing-seqno:seqno=2", MissingSeqno(seqno=2)),
        ("stub-file:size_bytes=9", StubFile(size_bytes=9)),
    ],
)
def test_defect_is_read_from_its_text(text, defect):
    """Kind, stream and numbers are as written; what is left out has its default."""
    assert parse_defect(text) == defect
    assert text.partition(":")[0].partition("@")[0] in DEFECTS


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cut-tial", "is not one of cut-tail"),
        ("cut-tail:bytes=3", "'bytes=3' is not n_bytes=N"),
        ("cut-tail:n_bytes=-3", "'n_bytes=-3' is not"),
        ("missing-seqno", "needs seqno=N"),
        ("cut-tail@img16", "'img16' is not PRODUCT.MODULE, such as img16.3"),
        ("missing-quabo@img16:quabo=1", "'img16' is not PRODUCT.MODULE"),
    ],
)
def test_wrong_defect_text_is_refused_with_what_would_be_right(text, says):
    """The error says what is wrong, and stops the command with exit code 2."""
    with pytest.raises(ConfigError, match=says) as caught:
        parse_defect(text)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "defect",
    [
        CutTail(stream=StreamKey("img16", 9)),
        CutTail(n_bytes=0),
        CutTail(n_bytes=636),
        StubFile(size_bytes=636),
        StubFile(seqno=1),
        MissingSeqno(seqno=1),
        BrokenHeader(frame=50),
        BrokenHeader(frame=0, byte_offset=635),
        OtherLayout(frame=50),
        ZeroFrames(start=3, stop=3),
        UnlockedClock(start=50),
        UnlockedClock(d=1),
        UnlockedClock(quabo=4),
        MissingQuabo(quabo=0),
    ],
    ids=repr,
)
def test_defect_that_could_not_show_is_refused(defect):
    """A defect outside the run's streams, files, frames or boards is an error, never ignored."""
    with pytest.raises(ConfigError):
        RunPlan((StreamPlan("ph256", 1, 50),), defects=(defect,))


@pytest.mark.parametrize(
    "numbers",
    [
        {"product": "img32"},
        {"module": 255},
        {"module": -1},
        {"n_frames": -1},
        {"rate_hz": 0},
        {"rate_hz": float("nan")},
    ],
    ids=repr,
)
def test_stream_that_no_daq_writes_is_refused(numbers):
    """Product, module, frames and rate are checked."""
    with pytest.raises(ConfigError):
        StreamPlan(**{"product": "img16", "module": 1, **numbers})


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "../up"},
        {"name": ".."},
        {"name": ""},
        {"markers": ("a/b",)},
        {"observatory": "a/b"},
        {"max_file_size_mb": -1},
        {"seed": -1},
        {"start": datetime(2024, 7, 25)},  # noqa: DTZ001
        {"streams": (StreamPlan("img16", 1), StreamPlan("img16", 1, 5))},
    ],
    ids=repr,
)
def test_run_that_cannot_be_written_is_refused(settings):
    """Names that lead elsewhere, negative numbers, times without a zone, streams named twice."""
    with pytest.raises(ConfigError):
        RunPlan(**{"streams": (), **settings})


def test_all_markers_are_planned_unless_said_otherwise():
    """A default run is complete, its markers in the order of writing."""
    assert RunPlan(()).markers == MARKERS
    assert MARKERS == ("recording_ended", "collect_complete", "run_complete")


def test_a_missing_quabo_of_no_named_stream_is_in_those_that_can_have_it():
    """A ph256 frame is of one board: it is passed over, refused where it is named or alone."""
    image, pulse = StreamPlan("img16", 1, 10), StreamPlan("ph256", 1, 10)
    defect = MissingQuabo(quabo=1)
    plan = RunPlan((image, pulse), defects=(defect,))
    assert [defect.concerns(stream.key) for stream in plan.streams] == [True, False]
    with pytest.raises(ConfigError, match="can be in no stream"):
        RunPlan((pulse,), defects=(defect,))
    with pytest.raises(ConfigError, match="has one board"):
        RunPlan((image, pulse), defects=(MissingQuabo(quabo=1, stream=pulse.key),))
