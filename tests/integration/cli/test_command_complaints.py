"""What the commands say of inputs that are not right, in this process."""

import shutil
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from typer.testing import CliRunner

from panoseti_zarr.cli.app import COMMANDS, app
from panoseti_zarr.cli.console import make_output_directory
from panoseti_zarr.errors import InputError
from panoseti_zarr.io.pff.listing import list_run
from panoseti_zarr.io.pff.stream_summary import describe_stream
from panoseti_zarr.io.simulate import RunPlan, StreamPlan, simulate_run


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


def test_what_is_in_one_store_s_place_stops_no_other(tmp_path: Path):
    """Of L0 and of L1: it is named and left alone, the others are made, and the exit code is 1."""
    run = simulate_run(tmp_path, RunPlan(tuple(StreamPlan("img16", n, 50) for n in (1, 2, 3))))
    first, second, third = (f"{run.name}.{key}" for key in list_run(run).keys)
    l0, l1 = tmp_path / "l0", tmp_path / "l1"
    foreign = l0 / f"{first}.zarr", l1 / f"{second}_L1.zarr"
    for directory in foreign:
        directory.mkdir(parents=True)
        (directory / "zarr.json").write_text('{"attributes": {"format": "other"}}')
    done = CliRunner().invoke(app, ["run", str(run), str(l0), str(l1)])
    assert done.exit_code == 1
    assert "module_1: not an L0 store of panoseti-zarr" in done.stderr
    assert "module_2: L1: not an L1 store of panoseti-zarr" in done.stderr
    states = [" ".join(line.split()[1:3]) for line in done.stdout.splitlines()[1:]]
    assert states == ["L0 failed", "L0 done", "L1 failed", "L0 done", "L1 done"]
    assert (l1 / f"{third}_L1.zarr/zarr.json").exists()
    assert [directory.is_dir() for directory in foreign] == [True, True]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_path_that_may_not_be_read_is_the_command_s_own_error(name):
    """Exit code 1 with one line, not a usage error of the argument parser: it leaves them alone."""
    for hint in get_type_hints(COMMANDS[name], include_extras=True).values():
        kind, *parameter = get_args(hint) or (hint,)
        if Path in (kind, *get_args(kind)):
            assert parameter[0].readable is False, (name, parameter[0].help)
