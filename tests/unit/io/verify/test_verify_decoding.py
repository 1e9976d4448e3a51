"""How `verify` reads headers and times: a second telling of the format, without a disk."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.reference_store import (
    DTYPES,
    NAT,
    PIXELS,
    Arrays,
    array_paths,
    print_frame,
    print_header,
    read_header,
    time_and_quality,
)

import panoseti_zarr.cli.verify
import panoseti_zarr.io.verify
from panoseti_zarr.io.verify.frames import FrameComparer
from panoseti_zarr.io.verify.layout import find_field_spans, find_layout, parse_header
from panoseti_zarr.io.verify.sources import seqno_of
from panoseti_zarr.io.verify.times import board_time_ns, expected_times
from panoseti_zarr.model import PRODUCTS, FrameLayout, Quality

BOARDS = [
    (1999, 400, 480007492, 1686198635, 480461),
    (1848, 400, 480007488, 1686198635, 480462),
    (1689, 400, 480007488, 1686198635, 480478),
    (1551, 400, 480007492, 1686198635, 480480),
]
FORMS = ("img16", "ph256")


@contextmanager
def in_memory(data: bytes) -> Iterator[int]:
    fd = os.memfd_create("frames")
    try:
        os.write(fd, data)
        yield fd
    finally:
        os.close(fd)


def stored_arrays(frames: list[bytes], product: str) -> Arrays:
    """Return what a store must hold of ``frames``, all with a header of today's length."""
    dtype, side = PIXELS[product]
    header_bytes = len(print_header(product, BOARDS))
    texts = [frame[: header_bytes - 2] for frame in frames]
    ends = [frame[header_bytes - 2 : header_bytes + 1] == b"\n\n*" for frame in frames]
    fields = [
        read_header(t, product) if good else None for t, good in zip(texts, ends, strict=True)
    ]
    times = [time_and_quality(product, row) for row in fields]
    pixels = b"".join(frame[header_bytes + 1 :] for frame in frames)
    arrays: Arrays = {
        "images": np.frombuffer(pixels, dtype).reshape(-1, side, side).copy(),
        "timestamps": np.array([time for time, _ in times], "i8"),
        "quality": np.array([quality for _, quality in times], "u2"),
    }
    for i, path in enumerate(array_paths(product)):
        arrays[path] = np.array(
            [row[i] if row else 0 for row in fields], DTYPES[path.split("/")[-1]]
        )
    return arrays


def comparer(product: str) -> FrameComparer:
    header = print_header(product, BOARDS)
    frame_bytes = len(header) + 1 + PRODUCTS[product].pixel_bytes
    return FrameComparer(FrameLayout(len(header), frame_bytes, header), PRODUCTS[product])


def as_rows(frames: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(frames), np.uint8).reshape(len(frames), -1)


def make_frame(product: str, header: bytes | None = None, seed: int = 0) -> bytes:
    dtype, side = PIXELS[product]
    pixels = np.random.default_rng(seed).integers(0, 100, (side, side)).astype(dtype)
    return print_frame(header or print_header(product, BOARDS), pixels)


def test_no_decoding_code_is_shared_with_convert():
    """No module of verify imports a module that convert reads or writes frames with."""
    free = ("errors", "model", "cli.console", "core.text")
    allowed = {f"panoseti_zarr.{name}" for name in free}
    folder = Path(panoseti_zarr.io.verify.__file__).parent
    files = [*folder.glob("*.py"), Path(panoseti_zarr.cli.verify.__file__)]
    assert len(files) > 5
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                ours = str(name).startswith("panoseti_zarr")
                assert not ours or name in allowed or "io.verify" in str(name), (file.name, name)


@pytest.mark.parametrize(
    "change",
    [
        (b'"pkt_num":       1999', b'"pkt_num":     1999.0'),
        (b'"pkt_num":       1999', b'"pkt_num":     "1999"'),
        (b'"pkt_num":       1999', b'"pkt_num":       true'),
        (b'"pkt_num":       1999', b'"pkt_num":       null'),
        (b'"pkt_num":       1999', b'"pkt_num":      01999'),
        (b'"pkt_num":       1999', b'"pkt_num":        1e3'),
        (b'"pkt_num":       1999', b'"pkt_num": 4294967296'),
        (b'"pkt_num":       1999', b'"pkt_num":         -1'),
        (b'"pkt_tai":  400', b'"pkt_tai":65536'),
        (b'"pkt_num"', b'"pkt_nun"'),
        (b"{", b"\xff"),
        (b"{", b"[" * 100_000),
    ],
)
@pytest.mark.parametrize("product", FORMS)
def test_a_header_that_is_not_right_is_unreadable(product: str, change: tuple[bytes, bytes]):
    """Whatever is no JSON, lacks a field, or holds what is no fitting integer, is unreadable."""
    text = print_header(product, BOARDS)[:-2]
    assert text.replace(*change, 1) != text
    assert parse_header(text, PRODUCTS[product]) is not None
    assert parse_header(text.replace(*change, 1), PRODUCTS[product]) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("tv_sec", -1), ("tv_sec", 2**63 - 1), ("pkt_num", 2**32 - 1), ("pkt_tai", 65535)],
)
def test_any_integer_that_fits_is_read(field: str, value: int):
    """Values to the bounds of their dtypes are read, blanks and order do not matter."""
    fields = dict.fromkeys(["quabo_num", "tv_usec", "tv_sec", "pkt_nsec", "pkt_tai", "pkt_num"], 3)
    text = str({**fields, field: value}).replace("'", '"').encode()
    expected = [value if name == field else 3 for name in ("pkt_num", "pkt_tai", "pkt_nsec")]
    parsed = parse_header(b" " + text, PRODUCTS["ph256"])
    assert parsed is not None
    assert list(parsed[1:4]) == expected


@pytest.mark.parametrize("product", list(PRODUCTS))
def test_the_layout_is_measured(product: str):
    """The header length comes from the file."""
    frame = make_frame(product)
    with in_memory(frame * 3) as fd:
        layout = find_layout(fd, 3 * len(frame), PRODUCTS[product])
    header = print_header(product, BOARDS)
    assert layout == FrameLayout(len(header), len(frame), header)


@pytest.mark.parametrize("n_broken", [1, 2, 7, 300])
@pytest.mark.parametrize("fill", [b"\x00", b" ", b"\n\n*", b"\xff"])
def test_broken_first_headers_do_not_lose_the_file(n_broken: int, fill: bytes):
    """The first readable header tells the layout, whatever stands in the frames before it."""
    frame = make_frame("ph256")
    broken = (fill * len(frame))[: len(frame)] * n_broken
    with in_memory(broken + frame) as fd:
        layout = find_layout(fd, len(broken + frame), PRODUCTS["ph256"])
    assert layout is not None
    assert layout.frame_bytes == len(frame)


def test_a_file_without_a_readable_header_has_no_layout():
    """Where no header can be read, nothing is guessed."""
    frame = make_frame("img16").replace(b"quabo_2", b"quabo_9")
    with in_memory(frame * 3) as fd:
        assert find_layout(fd, 3 * len(frame), PRODUCTS["img16"]) is None


def test_fields_are_found_whatever_else_a_header_holds():
    """Spans hold the blanks and digits of the right numbers, among further and repeated keys."""
    text = (
        b'{ "more": 17, "quabo_num": 2, "pkt_num":  1, "pkt_num":   77, "pkt_tai":  229, '
        b'"pkt_nsec":  12, "tv_usec": 985339, "tv_sec": 1754112728, "text": "is:  5"}\n\n'
    )
    spans = find_field_spans(text, PRODUCTS["ph256"])
    assert spans is not None
    printed = [text[start:stop] for start, stop in spans]
    assert printed == [b" 2", b"   77", b"  229", b"  12", b" 1754112728", b" 985339"]


def test_fields_that_are_not_printed_plainly_have_no_spans():
    """A negative number sends every frame of the file to json.loads."""
    boards = [(1, 2, 3, -4, 5)]
    assert find_field_spans(print_header("ph256", boards), PRODUCTS["ph256"]) is None


boards = st.one_of(
    st.tuples(*(st.just(0),) * 5),
    st.tuples(
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**16 - 1) | st.sampled_from([399, 400, 401]),
        st.sampled_from([0, 999_999_999, 2**32 - 1]) | st.integers(0, 10**9 - 1),
        st.sampled_from([1686198635, 0, 2**63 - 1, -(2**63), 9223372036, -9223372037])
        | st.integers(-(2**63), 2**63 - 1),
        st.integers(0, 2**32 - 1),
    ),
)


@given(frames=st.lists(st.tuples(boards, boards, boards, boards), min_size=1, max_size=8))
@pytest.mark.parametrize("product", FORMS)
def test_times_and_quality_follow_the_rules(product: str, frames: list[tuple]):
    """The formula for whole arrays agrees with the rules taken one by one, in Python integers."""
    n_fields = len(array_paths(product))
    rows = [[v for b in f for v in b] if n_fields == 20 else [3, *f[0]] for f in frames]
    headers = {
        path: np.array([row[i] for row in rows], DTYPES[path.split("/")[-1]])
        for i, path in enumerate(array_paths(product))
    }
    times, quality = expected_times(headers, PRODUCTS[product])
    assert list(zip(times, quality, strict=True)) == [time_and_quality(product, r) for r in rows]


@pytest.mark.parametrize(
    ("tai_step", "step_s", "locked"), [(0, 0, True), (1, 1, True), (-1, -1, True), (2, 0, False)]
)
def test_the_wr_second_is_the_nearest_that_agrees(tai_step: int, step_s: int, locked: bool):
    """WR time one second either side of the DAQ's is locked; further away the DAQ's stands."""
    time_ns = (1686198635 + step_s) * 10**9 + (480007492 if locked else 480461000)
    assert board_time_ns(400 + tai_step, 480007492, 1686198635, 480461) == (time_ns, locked)


def test_a_time_beyond_int64_is_no_time():
    """The last nanosecond that int64 holds is a time; the next, and NaT's own number, are not."""
    second, nanosecond = divmod(2**63 - 1, 10**9)
    tai = (second + 37) % 1024
    assert board_time_ns(tai, nanosecond, second, 0) == (2**63 - 1, True)
    assert board_time_ns(tai, nanosecond + 1, second, 0) == (NAT, True)
    second, nanosecond = divmod(NAT, 10**9)
    assert board_time_ns((second + 37) % 1024, nanosecond, second, 0) == (NAT, True)
    assert board_time_ns((second + 37) % 1024, nanosecond + 1, second, 0) == (NAT + 1, True)


@given(data=st.data())
@pytest.mark.parametrize("product", FORMS)
def test_the_fast_path_agrees_with_json_loads_on_every_byte_string(product: str, data):
    """Frames with any bytes in their headers equal what json.loads makes of them."""
    header = print_header(product, BOARDS)
    frames = [make_frame(product, seed=7)]
    alphabet = st.sampled_from(b' 0123456789-+.e"{}:,\n*\x00\xff') | st.integers(0, 255)
    for _ in range(data.draw(st.integers(1, 3))):
        changed = bytearray(header + b"*")
        for _ in range(data.draw(st.integers(0, 3))):
            changed[data.draw(st.integers(0, len(header)))] = data.draw(alphabet)
        frame = bytearray(frames[0])
        frame[: len(changed)] = changed
        frames.append(bytes(frame))
    assert (
        comparer(product).first_difference(as_rows(frames), stored_arrays(frames, product)) is None
    )


@given(data=st.data())
@pytest.mark.parametrize("product", FORMS)
def test_any_changed_value_is_found_and_named(product: str, data):
    """One value of the store changed: the difference names the array, the frame, both values."""
    frames = [make_frame(product, seed=seed) for seed in range(3)]
    frames.append(b"\x00" * len(frames[0]))
    stored = stored_arrays(frames, product)
    path = data.draw(st.sampled_from(sorted(stored)))
    row = data.draw(st.integers(0, 3))
    place = (row, *(data.draw(st.integers(0, n - 1)) for n in stored[path].shape[1:]))
    before = int(stored[path][place])
    bit = data.draw(st.integers(0, 8 * stored[path].itemsize - 1))
    as_bits = stored[path].view(f"u{stored[path].itemsize}")
    as_bits[place] ^= as_bits.dtype.type(1 << bit)
    found = comparer(product).first_difference(as_rows(frames), stored)
    assert found is not None
    pixel = f"[{place[1]}, {place[2]}]" if path == "images" else ""
    assert (found.row, found.what) == (row, path + pixel)
    assert (found.stored, found.expected) == (int(stored[path][place]), before)


@pytest.mark.parametrize("product", FORMS)
def test_the_lowest_frame_is_named(product: str):
    """Of several differences the one in the lowest frame is named, with its offset in the frame."""
    frames = [make_frame(product, seed=seed) for seed in range(4)]
    stored = stored_arrays(frames, product)
    last = array_paths(product)[-1]
    stored[last][1] += 1
    stored["images"][2, 0, 0] += 1
    stored["quality"][3] = Quality.WR_NOT_LOCKED
    found = comparer(product).first_difference(as_rows(frames), stored)
    assert found is not None
    assert (found.row, found.what) == (1, last)
    assert frames[1][found.byte_offset :].lstrip().startswith(str(found.expected).encode())
    stored[last][1] -= 1
    found = comparer(product).first_difference(as_rows(frames), stored)
    assert found is not None
    assert (found.row, found.what) == (2, "images[0, 0]")
    assert found.byte_offset == len(print_header(product, BOARDS)) + 1


@pytest.mark.parametrize(
    ("name", "seqno"),
    [
        ("start_2023-06-08T04:30:29Z.dp_img16.bpp_2.module_1.seqno_0.pff", 0),
        ("dp_img16.module_1.seqno_12.pff", 12),
        ("start_2023-06-08T04_30_29Z.dp_img16.bpp_2.module_1.seqno_3.debug_TRUNCATED.pff", 3),
        (".start_2023-06-08T04:30:29Z.dp_img16.bpp_2.module_1.seqno_0.pff.Xa3b", None),
        (".dp_img16.module_1.seqno_0.pff", None),
        ("hk.pff", None),
        ("dp_img8.module_1.seqno_0.pff", None),
        ("dp_img16.module_11.seqno_0.pff", None),
        ("dp_img16.module_1.pff", None),
        ("dp_img16.module_1.seqno_0.txt", None),
    ],
)
def test_names_tell_which_files_are_the_streams(name: str, seqno: int | None):
    """Start, pixel bytes and further parts may be there or not; product and module must agree."""
    assert seqno_of(name, "img16", 1) == seqno
