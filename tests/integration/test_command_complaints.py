"""What the commands say of inputs that are not right, in this process."""

import shutil
from pathlib import Path

import pytest

from panoseti_zarr.cli.console import make_output_directory
from panoseti_zarr.errors import InputError
from panoseti_zarr.io.listing import list_run
from panoseti_zarr.io.simulate import RunPlan, StreamPlan, simulate_run
from panoseti_zarr.io.summary import describe_stream


def test_two_files_of_one_seqno_still_have_their_frames(tmp_path: Path):
    """The stream cannot be converted, and says why; its frames and times are shown."""
    run = simulate_run(tmp_path, RunPlan((StreamPlan("img16", 1, 50),)))
    (file,) = (path for path in run.glob("*dp_img16*") if path.stat().st_size)
    shutil.copy(file, run / file.name.replace("seqno_0", "seqno_00"))
    listing = list_run(run)
    summary = describe_stream(listing, *listing.keys)
    assert (summary.n_frames, len(summary.files)) == (100, 2)
    assert summary.first_time_ns is not None
    assert "two files have seqno 0" in str(summary.problem)


def test_an_output_directory_that_cannot_be_made_is_named(tmp_path: Path):
    """A file in the way: the argument and the path are in the message."""
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot make L0_DIR: .*file/l0"):
        make_output_directory(tmp_path / "file" / "l0", "L0_DIR")
    make_output_directory(tmp_path / "a" / "b", "L0_DIR")
    assert (tmp_path / "a" / "b").is_dir()
