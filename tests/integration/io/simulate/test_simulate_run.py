"""Simulated run directories on disk, and the command that makes them."""

import json
import re
import shutil

import numpy as np
import pypff.io
import pytest
import typer
from typer.testing import CliRunner

from panoseti_zarr.cli.simulate import simulate
from panoseti_zarr.errors import ConfigError, InputError, PanosetiZarrError
from panoseti_zarr.io.simulate import RunPlan, StreamPlan, max_file_size_mb, simulate_run
from panoseti_zarr.io.simulate.defects import (
    BrokenHeader,
    CutTail,
    MissingSeqno,
    StubFile,
)
from panoseti_zarr.io.simulate.frames import frame_blocks
from panoseti_zarr.model import PRODUCTS, StreamKey

CONFIG_NAMES = {
    "obs_config.json",
    "daq_config.json",
    "data_config.json",
    "quabo_uids.json",
    "sw_info.json",
    "hk.pff",
}
MARKER_NAMES = {"recording_ended", "collect_complete", "run_complete"}


def contents(run_dir):
    """Return name to bytes of every file."""
    return {path.name: path.read_bytes() for path in run_dir.iterdir()}


def frame_files(run_dir, product):
    """Return seqno to size of a product's files."""
    found = {}
    for path in run_dir.glob(f"*.dp_{product}.*"):
        found[int(re.search(r"seqno_(\d+)", path.name)[1])] = path.stat().st_size
    return dict(sorted(found.items()))


def command(*args):
    """Run the command; return its output, or raise the error that it ends with."""
    app = typer.Typer()
    app.command()(simulate)
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    if isinstance(result.exception, PanosetiZarrError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_run_directory_has_what_a_real_one_has(tmp_path):
    """Configuration, housekeeping, markers, and a file of each product, empty but for one."""
    plan = RunPlan((StreamPlan("img16", 3, 10),))
    run_dir = simulate_run(tmp_path / "new" / "root", plan)
    assert run_dir.name == "obs_Lick.start_2024-07-25T04:34:06Z.runtype_sci-data.pffd"
    frames = {
        f"start_2024-07-25T04:34:35Z.dp_{p.name}.bpp_{p.dtype.itemsize}.module_3.seqno_0.pff"
        for p in PRODUCTS.values()
    }
    found = contents(run_dir)
    assert set(found) == CONFIG_NAMES | MARKER_NAMES | frames
    sizes = {name: len(found[name]) for name in frames if found[name]}
    assert list(sizes.values()) == [10 * 2540]
    assert "dp_img16" in next(iter(sizes))
    for name in MARKER_NAMES:
        assert re.fullmatch(rb"2024-07-24T21:34:\d\d", found[name])


def test_same_plan_gives_the_same_bytes(tmp_path):
    """Two runs of one plan are equal in every file; another seed gives other frames."""
    streams = tuple(StreamPlan(product, 1, 30) for product in PRODUCTS)
    first = contents(simulate_run(tmp_path / "a", RunPlan(streams, seed=4)))
    assert contents(simulate_run(tmp_path / "b", RunPlan(streams, seed=4))) == first
    other = contents(simulate_run(tmp_path / "c", RunPlan(streams, seed=5)))
    assert set(other) == set(first)
    assert all(other[name] != first[name] for name in first if ".dp_" in name)


@pytest.mark.parametrize("product", PRODUCTS)
def test_the_instrument_teams_reader_reads_every_frame(tmp_path, product):
    """`pypff` gives the pixels and header numbers that were simulated."""
    plan = RunPlan((StreamPlan(product, 1, 600),), empty_files=False)
    run_dir = simulate_run(tmp_path, plan)
    (path,) = run_dir.glob("*.dp_*")
    reader = pypff.io.datapff(str(path))
    pixels, headers = reader.readpff(metadata=True, mode="read")
    blocks = list(frame_blocks(plan, plan.streams[0]))
    expected = np.concatenate([block.pixels for block in blocks])
    np.testing.assert_array_equal(pixels, expected.reshape(600, -1))
    boards = [headers] if product == "ph256" else list(headers.values())
    for index, board in enumerate(boards):
        for field, numbers in board.items():
            simulated = np.concatenate([block.fields[field][:, index] for block in blocks])
            np.testing.assert_array_equal(numbers, simulated)


def test_files_roll_over_in_size_and_name(tmp_path):
    """Each file has its seqno and the time of its opening, and together they hold all frames."""
    stream = StreamPlan("img16", 1, 1300, rate_hz=100.0)
    one = simulate_run(tmp_path / "one", RunPlan((stream,), empty_files=False))
    plan = RunPlan((stream,), max_file_size_mb=max_file_size_mb("img16", 500), empty_files=False)
    run_dir = simulate_run(tmp_path / "many", plan)
    paths = sorted(run_dir.glob("*.dp_*"))
    tail = "dp_img16.bpp_2.module_1.seqno"
    assert [path.name for path in paths] == [
        f"start_2024-07-25T04:34:35Z.{tail}_0.pff",
        f"start_2024-07-25T04:34:42Z.{tail}_1.pff",
        f"start_2024-07-25T04:34:47Z.{tail}_2.pff",
    ]
    assert [path.stat().st_size // 2540 for path in paths] == [500, 500, 300]
    (whole,) = one.glob("*.dp_*")
    assert b"".join(path.read_bytes() for path in paths) == whole.read_bytes()
    config = json.loads((run_dir / "data_config.json").read_text())
    assert config["max_file_size_mb"] * 1e6 < 500 * 2540


def test_file_that_is_just_full_is_followed_by_an_empty_one(tmp_path):
    """The next file is opened with the frame that passes the size; unless left out."""
    stream = StreamPlan("ph256", 1, 20)
    plan = RunPlan((stream,), max_file_size_mb=max_file_size_mb("ph256", 10))
    assert frame_files(simulate_run(tmp_path, plan), "ph256") == {0: 6360, 1: 6360, 2: 0}
    plan = RunPlan((stream,), name="x", max_file_size_mb=plan.max_file_size_mb, empty_files=False)
    run_dir = simulate_run(tmp_path, plan)
    assert frame_files(run_dir, "ph256") == {0: 6360, 1: 6360}
    assert not frame_files(run_dir, "img16")


def test_file_defects_cut_and_remove_files(tmp_path):
    """The last file is cut, the middle one is missing, the first is a stub; the rest is whole."""
    streams = (StreamPlan("ph256", 1, 25), StreamPlan("ph256", 2, 25))
    defects = (
        MissingSeqno(stream=streams[0].key, seqno=1),
        CutTail(stream=streams[0].key, n_bytes=7),
        StubFile(stream=streams[0].key, size_bytes=50),
    )
    plan = RunPlan(
        streams,
        max_file_size_mb=max_file_size_mb("ph256", 10),
        empty_files=False,
        defects=defects,
    )
    run_dir = simulate_run(tmp_path, plan)
    sizes = {p.name.partition(".")[2]: p.stat().st_size for p in run_dir.glob("*.dp_*")}
    assert sizes == {
        "dp_ph256.bpp_2.module_1.seqno_0.pff": 50,
        "dp_ph256.bpp_2.module_1.seqno_2.pff": 5 * 636 - 7,
        "dp_ph256.bpp_2.module_2.seqno_0.pff": 6360,
        "dp_ph256.bpp_2.module_2.seqno_1.pff": 6360,
        "dp_ph256.bpp_2.module_2.seqno_2.pff": 5 * 636,
    }


def test_byte_defect_is_in_its_stream_alone(tmp_path):
    """A broken header changes that stream's file and no other."""
    streams = (StreamPlan("img16", 1, 5), StreamPlan("img16", 2, 5))
    whole = contents(simulate_run(tmp_path / "a", RunPlan(streams)))
    defect = BrokenHeader(stream=StreamKey("img16", 2), frame=0)
    broken = contents(simulate_run(tmp_path / "b", RunPlan(streams, defects=(defect,))))
    changed = [name for name in whole if whole[name] != broken[name]]
    assert len(changed) == 1
    assert "module_2" in changed[0]


def test_existing_run_is_replaced_only_when_asked_and_only_if_simulated(tmp_path):
    """Without ``overwrite`` a run stays as it is; one that was not simulated stays always."""
    plan = RunPlan((StreamPlan("ph256", 1, 5),), name="run.pffd")
    run_dir = simulate_run(tmp_path, plan)
    (run_dir / "more").touch()
    with pytest.raises(InputError, match="there already"):
        simulate_run(tmp_path, plan)
    assert (run_dir / "more").exists()
    assert not (simulate_run(tmp_path, plan, overwrite=True) / "more").exists()
    (run_dir / "sw_info.json").write_text('{"author": "Wei Liu"}')
    with pytest.raises(InputError, match="not simulated"):
        simulate_run(tmp_path, plan, overwrite=True)
    (tmp_path / "link.pffd").symlink_to(run_dir)
    linked = RunPlan((), name="link.pffd")
    with pytest.raises(InputError, match="not simulated"):
        simulate_run(tmp_path, linked, overwrite=True)
    assert len(frame_files(run_dir, "ph256")) == 1


def test_on_a_daq_node_frame_files_are_in_the_directories_of_their_modules(tmp_path):
    """The run's own directory has configuration and markers; the files' bytes are the same."""
    streams = (StreamPlan("img16", 3, 10), StreamPlan("ph256", 4, 20))
    whole = contents(simulate_run(tmp_path / "a", RunPlan(streams)))
    root = tmp_path / "b"
    plan = RunPlan(streams, daq_node=True)
    run_dir = simulate_run(root, plan)
    assert run_dir == root / plan.run_name
    assert set(contents(run_dir)) == CONFIG_NAMES | MARKER_NAMES
    found = contents(run_dir)
    for module in (3, 4):
        in_module = contents(root / f"module_{module}" / plan.run_name)
        assert len(in_module) == len(PRODUCTS)
        assert all(f"module_{module}." in name for name in in_module)
        found |= in_module
    assert found == whole


def test_run_of_a_daq_node_is_replaced_in_all_its_directories(tmp_path):
    """An existing one is refused; by force it goes whole, even where the new one is in one."""
    plan = RunPlan((StreamPlan("ph256", 1, 5),), daq_node=True)
    simulate_run(tmp_path, plan)
    with pytest.raises(InputError, match="there already"):
        simulate_run(tmp_path, plan)
    simulate_run(tmp_path, RunPlan(plan.streams), overwrite=True)
    node_dir = tmp_path / "module_1" / plan.run_name
    assert not node_dir.exists()
    node_dir.mkdir()
    alone = RunPlan(plan.streams, daq_node=True)
    with pytest.raises(InputError, match="there already"):
        simulate_run(tmp_path, alone)
    shutil.rmtree(tmp_path / plan.run_name)
    with pytest.raises(InputError, match="not simulated"):
        simulate_run(tmp_path, alone, overwrite=True)


def test_root_that_is_a_file_is_a_declared_error(tmp_path):
    """What the system refuses comes as an error of ours, with the path."""
    (tmp_path / "file").touch()
    with pytest.raises(PanosetiZarrError, match="writing the simulated run"):
        simulate_run(tmp_path / "file", RunPlan(()))


def test_command_prints_the_run_directory(tmp_path):
    """With options for two streams the run has both, with the markers asked for."""
    streams = ("--product", "img8", "--product", "ph256", "--module", 2, "--frames", 12)
    files = ("--max-file-mb", 0.004, "--no-empty-files", "--name", "a.pffd")
    out = command(tmp_path, *streams, *files, "--markers", "recording_ended")
    run_dir = tmp_path / "a.pffd"
    assert out == f"{run_dir}\n"
    assert frame_files(run_dir, "img8") == {0: 3 * 1516, 1: 3 * 1516, 2: 3 * 1516, 3: 3 * 1516}
    assert frame_files(run_dir, "ph256") == {0: 7 * 636, 1: 5 * 636}
    assert {n for n in MARKER_NAMES if (run_dir / n).exists()} == {"recording_ended"}


def test_command_prints_json_of_what_it_made(tmp_path):
    """Path, streams, and every file with its size."""
    made = json.loads(command(tmp_path, "--frames", 4, "--markers", "none", "--json"))
    run_dir = tmp_path / "obs_Lick.start_2024-07-25T04:34:06Z.runtype_sci-data.pffd"
    assert made["path"] == str(run_dir)
    assert made["run"] == run_dir.name
    assert made["streams"] == {"dp_img16.module_1": 4}
    assert made["files"] == {name: len(data) for name, data in contents(run_dir).items()}
    assert made["size_bytes"] == sum(made["files"].values())


def test_command_names_the_files_of_a_daq_node_by_their_paths(tmp_path):
    """In the JSON, frame files have the directory of their module before their name."""
    made = json.loads(command(tmp_path, "--frames", 4, "--module", 9, "--daq-node", "--json"))
    frames = {name: size for name, size in made["files"].items() if "/" in name}
    assert len(frames) == len(PRODUCTS)
    assert {name.rpartition("/")[0] for name in frames} == {f"module_9/{made['run']}"}
    assert sum(frames.values()) == 4 * 2540
    assert set(made["files"]) - set(frames) == CONFIG_NAMES | MARKER_NAMES


def test_command_applies_defects_and_replaces_by_force(tmp_path):
    """A defect of the command line is in the files; ``--force`` makes the run again."""
    command(tmp_path, "--frames", 4)
    with pytest.raises(InputError, match="there already"):
        command(tmp_path, "--frames", 4)
    command(tmp_path, "--frames", 4, "--force", "--defect", "cut-tail@img16.1:n_bytes=40")
    (run_dir,) = tmp_path.iterdir()
    assert frame_files(run_dir, "img16") == {0: 4 * 2540 - 40}


@pytest.mark.parametrize(
    "options",
    [
        ("--product", "img32"),
        ("--start", "yesterday"),
        ("--markers", "run_complet"),
        ("--defect", "cut-tial"),
        ("--defect", "missing-seqno:seqno=1"),
        ("--name", "a/b"),
    ],
    ids=lambda options: options[1],
)
def test_command_refuses_wrong_options_before_it_writes(tmp_path, options):
    """Wrong usage ends with exit code 2 and leaves nothing behind."""
    with pytest.raises(ConfigError) as caught:
        command(tmp_path, *options)
    assert caught.value.exit_code == 2
    assert not list(tmp_path.iterdir())
