"""Names of runs and frame files."""

import pytest

from panoseti_zarr.core.pff.names import (
    FrameFileName,
    check_run_name,
    missing_seqnos,
    parse_frame_file_name,
    parse_run_name,
    store_name,
)
from panoseti_zarr.errors import CorruptDataError
from panoseti_zarr.model import StreamKey


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "start_2024-07-25T04:34:46Z.dp_img16.bpp_2.module_1.seqno_0.pff",
            FrameFileName(StreamKey("img16", 1), 0, 2),
        ),
        (
            "start_2024-07-25T04-34-46Z.dp_ph256.bpp_2.module_254.seqno_12.debug_TRUNCATED.pff",
            FrameFileName(StreamKey("ph256", 254), 12, 2),
        ),
        ("dp_img8.module_0.seqno_3.pff", FrameFileName(StreamKey("img8", 0), 3, None)),
    ],
)
def test_frame_file_names(name, expected):
    """Product, module and seqno are read; start, bpp and further parts are optional."""
    assert parse_frame_file_name(name) == expected


@pytest.mark.parametrize(
    "name",
    [
        "hk.pff",
        ".start_2024-07-25T04:34:46Z.dp_img16.bpp_2.module_1.seqno_0.pff.Xy12ab",
        ".dp_img16.module_1.seqno_0.pff",
        "dp_img16.module_1.seqno_0.pff.gz",
        "data_config.json",
        "collect_complete",
    ],
)
def test_other_names_are_no_frame_files(name):
    """Housekeeping, dot files and other endings are ignored."""
    assert parse_frame_file_name(name) is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("dp_img32.module_1.seqno_0.pff", "unknown data product"),
        ("dp_img16.module_255.seqno_0.pff", "above 254"),
        ("dp_img16.module_1.seqno_20240725.pff", "above 99999"),
        ("dp_img16.module_1.seqno_x.pff", "seqno 'x'"),
        ("dp_img16.module_1.pff", "seqno ''"),
        ("dp_img16.seqno_0.pff", "module ''"),
        ("dp_img16.module_\u0661.seqno_0.pff", "module"),
        ("dp_img16.bpp_1.module_1.seqno_0.pff", "1 bytes per pixel"),
        ("dp_img16.module_1.seqno_0\n.pff", "control characters"),
    ],
)
def test_frame_files_that_cannot_be_placed_are_refused(name, reason):
    """A frame file is never dropped silently: what cannot be placed is an error with a reason."""
    with pytest.raises(CorruptDataError, match=reason):
        parse_frame_file_name(name)


@pytest.mark.parametrize("separator", [":", "-", "_"])
def test_run_start_has_colons_again(separator):
    """Copies whose names have other separators for the colons tell the same start."""
    time = separator.join(["04", "34", "06"])
    run = parse_run_name(f"obs_Lick.start_2024-07-25T{time}Z.runtype_sci-data.birdie_3.pffd")
    assert (run.observatory, run.run_start, run.runtype) == (
        "Lick",
        "2024-07-25T04:34:06Z",
        "sci-data",
    )


def test_what_a_run_name_does_not_tell_is_none():
    """A directory with any other name is a run without attributes."""
    run = parse_run_name("night1")
    assert (run.observatory, run.run_start, run.runtype) == (None, None, None)


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31m", "a\udcff", "x" * 201, "..", "", "é" * 101])
def test_unsafe_run_names_are_refused(name):
    """Control characters, bytes that are not UTF-8 and overlong names never become file names."""
    with pytest.raises(CorruptDataError) as caught:
        check_run_name(name)
    assert str(caught.value).isprintable()


def test_longest_run_name_fits():
    """The store and lock names of the longest run name stay within 255 bytes."""
    name = "x" * 200
    check_run_name(name)
    assert len(f".{store_name(name, StreamKey('ph1024', 254))}.rebuilt") <= 255


@pytest.mark.parametrize(
    ("present", "missing"),
    [(set(), ()), ({0}, ()), ({0, 2, 5}, (1, 3, 4)), ({1}, (0,))],
)
def test_gaps(present, missing):
    """Every seqno from 0 to the highest must be there."""
    assert missing_seqnos(present) == missing
