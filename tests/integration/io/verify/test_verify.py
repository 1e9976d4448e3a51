"""`verify` on small stores that an independent writer made: right ones, and spoilt ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import zarr
from support.reference_store import (
    PIXELS,
    print_frame,
    print_header,
    reference_arrays,
    write_reference_store,
)
from typer.testing import CliRunner

import panoseti_zarr.io.verify
from panoseti_zarr.cli.verify import verify
from panoseti_zarr.cluster.threads import ThreadExecutor
from panoseti_zarr.config import PffToZarrConfig
from panoseti_zarr.errors import InputError, TransientIOError
from panoseti_zarr.io.pff.listing import list_run
from panoseti_zarr.io.verify import verify_store
from panoseti_zarr.io.verify.report import Difference
from panoseti_zarr.model import PRODUCTS, Quality, StreamKey
from panoseti_zarr.pipeline.ingest import ingest_stream

RUN = "obs_Test.start_2024-07-25T04:34:06Z.runtype_sci-data.pffd"
TV_SEC = 1_721_882_046
N_FRAMES = 7
"""Frames of each file: with four frames a chunk, chunks span files."""

Run = tuple[Path, list[Path], Path]


def file_name(product: str, seqno: int) -> str:
    dtype, _ = PIXELS[product]
    return (
        f"start_2024-07-25T04:34:{10 + seqno}Z.dp_{product}.bpp_{np.dtype(dtype).itemsize}."
        f"module_1.seqno_{seqno}.pff"
    )


def header_of(product: str, k: int, case: int) -> bytes:
    """Print the header of frame k; cases 1 to 5 are the irregular ones."""
    tai = (TV_SEC + 37) % 1024
    boards = [(100 + k, tai, 480_007_488 + i, TV_SEC, 480_461 + i) for i in range(4)]
    if case == 1:
        boards[0] = (0, 0, 0, 0, 0)
    elif case == 2:
        boards[1] = boards[0] = (100 + k, tai + 500, 999_999_999, TV_SEC, 480_461)
    elif case == 3:
        boards = [(0, 0, 0, 0, 0)] * 4
    elif case == 4:
        boards[0] = (100 + k, tai - 1, 999_999_998, 9_999_999_999, 999_999)
    header = print_header(product, boards, quabo_num=k % 4)
    if case == 5:
        return header.replace(b'"pkt_num": ', b'"pkt_num" :', 1)
    return header.replace(b'"', b"!") if case == 6 else header


def write_file(path: Path, product: str, seed: int, first_case: int = 0) -> Path:
    dtype, side = PIXELS[product]
    rng = np.random.default_rng(seed)
    low = -50 if dtype == "<i2" else 0
    frames = [
        print_frame(
            header_of(product, k, (first_case + k) % 7),
            rng.integers(low, 200, (side, side)).astype(dtype),
        )
        for k in range(N_FRAMES)
    ]
    path.write_bytes(b"".join(frames))
    return path


def make_run(root: Path, product: str) -> tuple[Path, list[Path]]:
    """Write three files, of which the second begins with a broken header and has a cut tail."""
    obs = root / RUN
    obs.mkdir()
    files = [
        write_file(obs / file_name(product, 0), product, 0),
        write_file(obs / file_name(product, 1), product, 1, first_case=6),
        write_file(obs / file_name(product, 3), product, 3, first_case=4),
    ]
    with files[1].open("ab") as file:
        file.write(b"the tail")
    other = "ph256" if product != "ph256" else "img8"
    (obs / file_name(other, 0)).touch()
    write_file(obs / file_name(other, 1), other, 9)
    (obs / "hk.pff").write_text('{"HK": 1}\n\n')
    return obs, files


def make_store(root: Path, product: str) -> Run:
    obs, files = make_run(root, product)
    store = root / f"{RUN}.dp_{product}.module_1.zarr"
    return obs, files, write_reference_store(store, files, product)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_store(tmp_path, "img16")


def difference_in(store: Path, obs: Path | None = None) -> Difference:
    """Verify a spoilt store; what is found must be a difference."""
    report = verify_store(store, obs)
    assert report.difference is not None
    assert not report.ok
    return report.difference


def change_root(store: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads((store / "zarr.json").read_text())
    change(document)
    (store / "zarr.json").write_text(json.dumps(document))


def change_attribute(store: Path, name: str, value: Any) -> None:
    change_root(store, lambda document: document["attributes"].update({name: value}))


@pytest.mark.parametrize("product", list(PRODUCTS))
def test_a_right_store_has_no_difference(tmp_path: Path, product: str):
    """Three files with every irregularity, in chunks that span files, are found right."""
    obs, files, store = make_store(tmp_path, product)
    report = verify_store(store, obs)
    assert report.difference is None
    assert (report.n_frames, report.closed, report.checksums) == (3 * N_FRAMES, True, True)
    assert report.n_bytes == sum(file.stat().st_size for file in files)
    assert verify_store(store).ok
    held = np.bitwise_or.reduce(zarr.open_array(store, path="quality")[:])
    assert held == (0b1011_0000 | 0b0100_0000 | (0 if product == "ph256" else 0b1111))


@pytest.mark.parametrize("product", list(PRODUCTS))
def test_what_convert_writes_is_right(tmp_path: Path, product: str):
    """A stream with every irregularity, converted, equals its files and the oracle's arrays."""
    obs, files = make_run(tmp_path, product)
    (tmp_path / "l0").mkdir()
    settings = PffToZarrConfig(time_chunk=4)
    with ThreadExecutor(1) as executor:
        result = ingest_stream(
            list_run(obs), StreamKey(product, 1), tmp_path / "l0", settings, executor
        )
    report = verify_store(result.store_path, obs)
    assert report.difference is None
    assert verify_store(result.store_path).difference is None
    for path, expected in reference_arrays(files, product).items():
        assert np.array_equal(zarr.open_array(result.store_path, path=path)[:], expected), path


def test_an_empty_stream_is_right(tmp_path: Path):
    """A store of a file that is shorter than one frame has no frames, and no chunks."""
    obs = tmp_path / RUN
    obs.mkdir()
    file = obs / file_name("img16", 0)
    file.write_bytes(b"{")
    store = write_reference_store(tmp_path / "a.zarr", [file], "img16")
    assert verify_store(store, obs).ok
    assert verify_store(store).ok


def test_relative_paths_work(run: Run, monkeypatch):
    """A store may be named from the working directory."""
    obs, _, store = run
    monkeypatch.chdir(store.parent)
    assert verify_store(Path(store.name), Path(obs.name)).ok


@pytest.mark.parametrize("block_bytes", [1, 2 * 2540, 1 << 20])
def test_a_changed_pixel_is_named(run: Run, monkeypatch, block_bytes: int):
    """Frame, frame of the file, byte offset, array and both values are those of the pixel."""
    monkeypatch.setattr(panoseti_zarr.io.verify.compare, "_BLOCK_BYTES", block_bytes)
    obs, files, store = run
    images = zarr.open_array(store, path="images", mode="r+")
    expected = int(images[9, 31, 5])
    images[9, 31, 5] = expected + 1
    frame_bytes = (files[0].stat().st_size) // N_FRAMES
    byte_offset = 2 * frame_bytes + frame_bytes - 2048 + 2 * (31 * 32 + 5)
    assert difference_in(store, obs) == Difference(
        "images[31, 5]", expected + 1, expected, "", 9, files[1].name, 2, byte_offset
    )
    value = files[1].read_bytes()[byte_offset : byte_offset + 2]
    assert int.from_bytes(value, "little") == expected
    assert verify_store(store).ok


def test_a_changed_header_field_is_named(run: Run):
    """The byte offset is that of the field's digits."""
    obs, files, store = run
    field = zarr.open_array(store, path="headers/quabo_2/pkt_nsec", mode="r+")
    expected = int(field[15])
    field[15] = 5
    found = difference_in(store, obs)
    assert (found.what, found.stored, found.expected) == ("headers/quabo_2/pkt_nsec", 5, expected)
    assert (found.frame_index, found.file, found.file_frame_index) == (15, files[2].name, 1)
    assert found.byte_offset is not None
    printed = files[2].read_bytes()[found.byte_offset :].lstrip()
    assert printed.startswith(str(expected).encode())


@pytest.mark.parametrize(
    ("path", "frame", "change"),
    [
        ("timestamps", 14, 1),
        ("timestamps", 6, 2**62),
        ("quality", 0, Quality.NSEC_CLAMPED),
        ("quality", 20, 256),
    ],
)
def test_a_changed_time_or_quality_is_named(run: Run, path: str, frame: int, change: int):
    """A time that is 1 ns off, a time that should be missing, one bit too much: each is found."""
    obs, _, store = run
    array = zarr.open_array(store, path=path, mode="r+")
    expected = int(array[frame])
    array[frame] = expected + change
    found = difference_in(store, obs)
    assert (found.what, found.frame_index) == (path, frame)
    assert (found.stored, found.expected) == (expected + change, expected)


def test_fields_of_an_unreadable_header_must_be_zero(run: Run):
    """A value stored for a header that json.loads refuses is a difference."""
    obs, _, store = run
    zarr.open_array(store, path="headers/quabo_0/tv_sec", mode="r+")[6] = TV_SEC
    found = difference_in(store, obs)
    assert (found.what, found.frame_index, found.expected) == ("headers/quabo_0/tv_sec", 6, 0)
    assert found.note == "the header cannot be read"


@pytest.mark.parametrize("with_obs", [True, False])
@pytest.mark.parametrize("path", ["images/c/2/0/0", "headers/quabo_3/tv_usec/c/2"])
def test_a_missing_chunk_is_named(run: Run, path: str, with_obs: bool):
    """A chunk that is not there is a difference, with and without the run."""
    obs, _, store = run
    (store / path).unlink()
    found = difference_in(store, obs if with_obs else None)
    assert (found.what, found.frame_index) == (path, 8)


@pytest.mark.parametrize("with_obs", [True, False])
@pytest.mark.parametrize("path", ["images/c/2/0/0", "quality/c/2"])
def test_a_flipped_bit_in_a_chunk_is_named(run: Run, path: str, with_obs: bool):
    """One bit of a chunk changed on disk is a difference, wherever it is."""
    obs, _, store = run
    content = bytearray((store / path).read_bytes())
    content[-1] ^= 1
    (store / path).write_bytes(content)
    found = difference_in(store, obs if with_obs else None)
    assert (found.what, found.frame_index) == (path, 8)


@pytest.mark.parametrize("byte", [0, 12, -1])
def test_damage_is_said_in_plain_words_with_the_path(tmp_path: Path, byte: int):
    """Whatever of a chunk rots, its report begins with plain words and the file's path."""
    obs, _ = make_run(tmp_path, "img16")
    (tmp_path / "l0").mkdir()
    settings = PffToZarrConfig(time_chunk=4)
    with ThreadExecutor(1) as executor:
        key = StreamKey("img16", 1)
        store = ingest_stream(list_run(obs), key, tmp_path / "l0", settings, executor).store_path
    path = store / "images/c/2/0/0"
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(content)
    words = {0: "damaged chunk", 12: "damaged chunk", -1: "checksum wrong"}[byte]
    text = str(verify_store(store, obs))
    assert text.startswith(f"{words}: {path}: ")
    assert text.endswith("(from frame 8 on)")


@pytest.mark.parametrize("name", ["images/c/6/0/0", "images/c/0/0/0.__lock", "note.txt", "c/0"])
def test_a_file_that_does_not_belong_is_named(run: Run, name: str):
    """Chunks above the frame count, and anything but Zarr, are differences."""
    _, _, store = run
    (store / name).parent.mkdir(parents=True, exist_ok=True)
    (store / name).touch()
    assert difference_in(store).what == name


def test_swapped_files_are_found(run: Run):
    """Two files whose contents were exchanged differ in the first frame."""
    obs, files, store = run
    contents = [files[0].read_bytes(), files[2].read_bytes()]
    files[0].write_bytes(contents[1])
    files[2].write_bytes(contents[0])
    found = difference_in(store, obs)
    assert (found.frame_index, found.file, found.file_frame_index) == (0, files[0].name, 0)


def spoil_count(obs: Path, files: list[Path], store: Path) -> None:
    change_attribute(store, "n_frames", 20)


def spoil_source_order(obs: Path, files: list[Path], store: Path) -> None:
    change_root(store, lambda d: d["attributes"]["source_files"].reverse())


def spoil_source_frames(obs: Path, files: list[Path], store: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        entries = document["attributes"]["source_files"]
        entries[0]["n_frames"] -= 1
        entries[1]["n_frames"] += 1
        entries[1]["first_frame"] -= 1

    change_root(store, change)


def spoil_trailing(obs: Path, files: list[Path], store: Path) -> None:
    change_root(store, lambda d: d["attributes"]["source_files"][1].update(trailing_bytes=0))


def spoil_size(obs: Path, files: list[Path], store: Path) -> None:
    with files[0].open("ab") as file:
        file.write(b"x")


def remove_source(obs: Path, files: list[Path], store: Path) -> None:
    files[1].unlink()


def add_source(obs: Path, files: list[Path], store: Path) -> None:
    shutil.copy(files[0], obs / file_name("img16", 2))


def spoil_gaps(obs: Path, files: list[Path], store: Path) -> None:
    change_attribute(store, "gaps", [])


def spoil_gaps_above(obs: Path, files: list[Path], store: Path) -> None:
    change_attribute(store, "gaps", [2, 4])


@pytest.mark.parametrize(
    ("spoil", "what", "stored", "expected"),
    [
        (spoil_count, "zarr.json attributes/n_frames", 20, 21),
        (spoil_source_order, "zarr.json attributes/source_files[0]/first_frame", 14, 0),
        (spoil_source_frames, "zarr.json attributes/source_files[0]/n_frames", 6, 7),
        (spoil_trailing, "zarr.json attributes/source_files[1]/trailing_bytes", 0, 8),
        (spoil_size, "zarr.json attributes/source_files[0]/size_bytes", 17780, 17781),
        (remove_source, "source_files", file_name("img16", 1), "no such file in the run"),
        (add_source, "source_files", None, file_name("img16", 2)),
        (spoil_gaps, "zarr.json attributes/gaps", "not there", 2),
        (spoil_gaps_above, "zarr.json attributes/gaps", 4, "not there"),
    ],
)
def test_source_files_must_be_those_of_the_run(
    run: Run, spoil: Callable[..., None], what: str, stored: Any, expected: Any
):
    """Counts, sizes, names and gaps are compared with the files in the directory."""
    obs, files, store = run
    spoil(obs, files, store)
    found = difference_in(store, obs)
    assert (found.what, found.stored, found.expected) == (what, stored, expected)


def test_an_empty_file_fills_a_gap_or_not(run: Run):
    """The seqno of an empty file may be missing from the gaps: it came before or after."""
    obs, _, store = run
    (obs / file_name("img16", 2)).touch()
    assert verify_store(store, obs).ok
    change_attribute(store, "gaps", [])
    assert verify_store(store, obs).ok


def test_an_open_store_is_compared_before_it_is_found_short(tmp_path: Path):
    """Frames that an open store does not have yet are a difference, those it has wrong a first."""
    obs, files = make_run(tmp_path, "img16")
    store = write_reference_store(tmp_path / "a.zarr", files[:1], "img16", closed=False)
    found = difference_in(store, obs)
    assert (found.what, found.expected) == ("source_files", files[1].name)
    zarr.open_array(store, path="quality", mode="r+")[3] = 1
    assert difference_in(store, obs).what == "quality"


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("closed", "yes", "closed"),
        ("commit", True, "commit"),
        ("product", "img32", "product"),
        ("bytes_per_pixel", 1, "bytes_per_pixel"),
        ("observatory", None, "observatory"),
        ("run_start", "2024-07-25T04:34:07Z", "run_start"),
        ("gaps", [2, 2], "gaps"),
        ("gaps", [2, 3], "gaps"),
        ("source_files", [{"name": "a"}], "source_files"),
        ("run_config", {"a.json": [{"url": "http://admin:1234@host"}]}, "run_config/a.json[0]/url"),
        ("run_config", {"a.json": {"http://admin@host": 1}}, "run_config/a.json"),
    ],
)
def test_root_attributes_must_be_right(run: Run, name: str, value: Any, what: str):
    """Each attribute has its type, agrees with the others, and holds no password."""
    _, _, store = run
    change_attribute(store, name, value)
    found = difference_in(store)
    assert found.what == f"zarr.json attributes/{what}"
    assert "1234@" not in str(found)


def test_every_root_attribute_must_be_there(run: Run):
    """Without any one attribute the store is not right, or no L0 store."""
    _, _, store = run
    content = (store / "zarr.json").read_text()
    for name in json.loads(content)["attributes"]:
        (store / "zarr.json").write_text(content)
        change_root(store, lambda document, name=name: document["attributes"].pop(name))
        if name == "format":
            with pytest.raises(InputError):
                verify_store(store)
        else:
            assert difference_in(store).what == f"zarr.json attributes/{name}"


@pytest.mark.parametrize(
    ("array", "key", "value"),
    [
        ("images", "shape", [20, 32, 32]),
        ("images", "data_type", "int16"),
        ("images", "dimension_names", ["time", "x", "y"]),
        ("quality", "fill_value", "NaN"),
        ("timestamps", "chunk_grid", None),
        ("quality", "chunk_grid", {"name": "regular", "configuration": {"chunk_shape": [5]}}),
        ("timestamps", "attributes", {"_ARRAY_DIMENSIONS": ["time"], "units": "s"}),
        ("images", "attributes", {"_ARRAY_DIMENSIONS": ["time", "y", "x"], "_FillValue": 0}),
        ("quality", "codecs", [{"name": "unheard-of"}]),
        ("headers", "node_type", "array"),
    ],
)
def test_array_metadata_must_be_an_l0_stores(run: Run, array: str, key: str, value: Any):
    """Shapes, dtypes, dimensions, chunks and fill values are the format's, in both places."""
    _, _, store = run
    own = json.loads((store / array / "zarr.json").read_text())
    own[key] = value
    (store / array / "zarr.json").write_text(json.dumps(own))
    assert difference_in(store).note == "the root's consolidated metadata say otherwise"
    change_root(store, lambda d: d["consolidated_metadata"]["metadata"][array].update({key: value}))
    assert difference_in(store).what.startswith(f"{array}/zarr.json")


def test_every_node_must_be_consolidated(run: Run):
    """An array that the root does not list is a difference."""
    _, _, store = run
    change_root(store, lambda d: d["consolidated_metadata"]["metadata"].pop("quality"))
    found = difference_in(store)
    assert (found.what, found.note) == ("zarr.json consolidated_metadata", "['quality']")


def test_a_store_that_changes_meanwhile_is_no_difference(run: Run, monkeypatch):
    """Where a writer commits during the verification, it is to be repeated."""
    _, _, store = run
    (store / "images/c/2/0/0").unlink()
    list_files = panoseti_zarr.io.verify.list_store_files

    def list_and_commit(path: Path) -> dict[str, int]:
        change_attribute(path, "commit", 2)
        return list_files(path)

    monkeypatch.setattr(panoseti_zarr.io.verify, "list_store_files", list_and_commit)
    with pytest.raises(TransientIOError, match="verify it again"):
        verify_store(store)


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"attributes": {"format": "other"}}'])
def test_what_is_no_l0_store_is_refused(tmp_path: Path, content: bytes | None):
    """No store, another's or a broken root: an error, not a difference."""
    if content is not None:
        (tmp_path / "zarr.json").write_bytes(content)
    with pytest.raises(InputError):
        verify_store(tmp_path)


def test_a_run_that_is_not_there_is_refused(run: Run):
    """A run directory that cannot be listed is an error, not a difference."""
    _, _, store = run
    with pytest.raises(InputError, match="cannot read the run"):
        verify_store(store, store / "nowhere")


@pytest.fixture
def command() -> Callable[..., Any]:
    app = typer.Typer()
    app.command()(verify)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_says_ok_and_exits_0(run: Run, command: Callable[..., Any]):
    """A right store gives one line, with and without the run, and JSON on request."""
    obs, _, store = run
    result = command(store, obs)
    assert result.exit_code == 0
    assert result.stdout.startswith("ok: 21 frames, 0.1 MB, ")
    assert command(store).stdout.endswith("every chunk is there and its checksum right\n")
    report = json.loads(command(store, obs, "--json").stdout)
    assert (report["ok"], report["n_frames"], report["difference"]) == (True, 21, None)


def test_the_command_names_the_difference_and_exits_1(run: Run, command: Callable[..., Any]):
    """A difference is one line on stdout, or an object of the JSON."""
    obs, files, store = run
    zarr.open_array(store, path="quality", mode="r+")[8] = 1
    result = command(store, obs)
    assert result.exit_code == 1
    size = files[0].stat().st_size // N_FRAMES
    assert result.stdout == (
        "difference: quality: store has 1, must be 0 "
        f"(frame 8, file {files[1].name}, frame of the file 1, byte {size})\n"
    )
    as_json = command(store, obs, "--json")
    assert as_json.exit_code == 1
    report = json.loads(as_json.stdout)
    assert (report["ok"], report["difference"]["frame_index"]) == (False, 8)


def test_the_command_takes_several_stores(run: Run, tmp_path: Path, command: Callable[..., Any]):
    """One line a store, a difference in one does not end it, and the last path is the run."""
    obs, _, store = run
    spoilt = tmp_path / "spoilt.zarr"
    shutil.copytree(store, spoilt)
    (spoilt / "images/c/2/0/0").unlink()
    for words in ((spoilt, store, obs), (spoilt, store)):
        result = command(*words)
        assert result.exit_code == 1
        first, second = result.stdout.splitlines()
        assert first.startswith("spoilt.zarr: difference: images/c/2/0/0: ")
        assert second.startswith(f"{store.name}: ok: 21 frames, ")
    assert command(store, store, obs).exit_code == 0
    reports = json.loads(command(store, spoilt, obs, "--json").stdout)
    assert [report["ok"] for report in reports] == [True, False]
