"""Frame layouts and header decoding, against ``json.loads`` frame by frame."""

import numpy as np
import pytest
from support.reference_store import print_frame, print_header, read_header

from panoseti_zarr.core.pff.framing import find_layout, parse_header
from panoseti_zarr.core.pff.headers import HeaderDecoder
from panoseti_zarr.model import PRODUCTS, header_specs

BOARD = (5124, 229, 999_999_999, 1_754_112_728, 985_339)
BOARDS = [BOARD, (1, 400, 7, 1_686_198_635, 5), (0, 0, 0, 0, 0), (4_294_967_295, 1023, 0, 1, 0)]


def frame_of(product, boards=BOARDS, fill=0):
    layout = PRODUCTS[product]
    pixels = np.full((layout.height, layout.width), fill, layout.dtype)
    return print_frame(print_header(product, boards, quabo_num=3), pixels)


def layout_of(data, product):
    return find_layout(lambda offset, n: data[offset : offset + n], len(data), PRODUCTS[product])


def decode(data, product):
    layout = layout_of(data, product)
    n_frames = len(data) // layout.frame_bytes
    frames = np.frombuffer(data, np.uint8)[: n_frames * layout.frame_bytes]
    out = [np.full(n_frames, 7, spec.dtype) for spec in header_specs(PRODUCTS[product])]
    decoder = HeaderDecoder.of(layout, PRODUCTS[product])
    readable = decoder.decode(frames.reshape(n_frames, -1), out)
    return readable, np.array([column.astype(object) for column in out]).T


@pytest.mark.parametrize(
    ("product", "header_bytes"), [("img16", 491), ("img8", 491), ("ph1024", 491), ("ph256", 123)]
)
def test_layout_of_todays_daq(product, header_bytes):
    """Header and frame lengths are measured, and are those that today's DAQ writes."""
    layout = layout_of(frame_of(product) * 3, product)
    assert layout.header_bytes == header_bytes
    assert layout.frame_bytes == header_bytes + 1 + PRODUCTS[product].pixel_bytes
    assert layout.frame_bytes == PRODUCTS[product].today_frame_bytes


@pytest.mark.parametrize("product", PRODUCTS)
def test_layout_of_another_daq(product):
    """Other field widths make another header length, and nothing is built in."""
    wide = frame_of(product).replace(b'"tv_usec": ', b'"tv_usec":      ')
    header_bytes = wide.index(b"\n\n*") + 2
    assert layout_of(wide * 2, product).header_bytes == header_bytes


@pytest.mark.parametrize("n_broken", [1, 2, 50])
@pytest.mark.parametrize("broken_at", [(0, 30), (480, 492)])
def test_broken_first_headers_do_not_lose_the_file(n_broken, broken_at):
    """The layout comes from the first readable header, also where ends of headers are gone."""
    good = frame_of("img16")
    start, stop = broken_at
    broken = good[:start] + b"\xff" * (stop - start) + good[stop:]
    data = broken * n_broken + good * 2
    assert layout_of(data, "img16").frame_bytes == len(good)
    readable, values = decode(data, "img16")
    assert readable.tolist() == [False] * n_broken + [True] * 2
    assert not values[:n_broken].any()


def test_header_ends_in_pixels_mislead_nobody():
    """Pixels that spell the end of a header are not taken for one."""
    good = frame_of("img16")
    data = (b"\xff" * 491 + b"*" + b"}\n\n*" * 512) + good * 2
    assert layout_of(data, "img16").frame_bytes == len(good)


@pytest.mark.parametrize("fill", [10, 32])
@pytest.mark.parametrize("n_broken", range(1, 8))
def test_blank_pixels_are_no_header(fill, n_broken):
    """Pixels that JSON takes for white space do not lengthen the header after them."""
    good = frame_of("img8", fill=fill)
    broken = b"\xff" * 20 + good[20:]
    assert layout_of(broken * n_broken + good, "img8").frame_bytes == len(good)


@pytest.mark.parametrize("data", [b"", b"\0" * 10_000, b"hello" * 2000, b"}\n\n*" * 3000])
def test_no_readable_header_is_no_layout(data):
    """A file of another format has no layout."""
    assert layout_of(data, "img16") is None


def test_header_of_another_product_is_not_readable():
    """Pulse-height headers in a file named img16 are no headers."""
    assert layout_of(frame_of("ph256") * 20, "img16") is None


@pytest.mark.parametrize("product", PRODUCTS)
def test_values_are_those_of_json(product):
    """Whole blocks decode to what json.loads gives for each frame."""
    rng = np.random.default_rng(1)
    frames = []
    for _ in range(300):
        boards = [
            tuple(int(rng.integers(0, top)) for top in (2**32, 1024, 10**9, 10**10, 10**6))
            for _ in range(4)
        ]
        frames.append(frame_of(product, boards))
    readable, values = decode(b"".join(frames), product)
    assert readable.all()
    for frame, found in zip(frames, values, strict=True):
        assert list(found) == read_header(frame[: frame.index(b"\n\n*")], product)


@pytest.mark.parametrize(
    ("old", "new", "readable"),
    [
        (b"5124", b"0124", False),  # a leading zero is no JSON
        (b"      5124", b"        -1", False),  # out of range
        (b"      5124", b"4294967296", False),
        (b"      5124", b"4294967295", True),
        (b"      5124", b"5124      ", True),
        (b"      5124", b"  51 24   ", False),
        (b"      5124", b"      true", False),
        (b"      5124", b"    5124.0", False),
        (b"      5124", b'    "5124"', False),
        (b"      5124", b"      null", False),
        (b"      5124", b"     512e1", False),
        (b"      5124", b"          ", False),
        (b"      5124", b"\t\t\n   5124", True),
        (b"      5124", b"        -0", True),
        (b" 229", b"1024", True),
        (b"985339", b"98533\xb2", False),
        (b"pkt_num", b"pkt_nun", False),
        (b"\n\n*", b"\n *", False),
        (b"\n\n*", b"\n\n+", False),
        (b"\n\n*", b" \n*", False),
    ],
)
def test_odd_headers(old, new, readable):
    """What counts is what json.loads and the dtypes say, not how the DAQ prints."""
    good = frame_of("ph256")
    odd = good.replace(old, new.ljust(len(old)) if len(new) < len(old) else new, 1)
    assert len(odd) == len(good)
    flags, values = decode(good + odd + good, "ph256")
    assert flags.tolist() == [True, readable, True]
    expected = read_header(odd[:121], "ph256") if readable else [0] * 6
    assert list(values[1]) == expected


def test_duplicate_keys_are_read_as_json_reads_them():
    """The last of two equal keys counts, also when the first readable header has them."""
    good = frame_of("ph256")
    text = (
        b'{ "quabo_num": 3, "pkt_num": 1, "pkt_num": 2, "pkt_tai": 3, "pkt_nsec": 4, '
        b'"tv_sec": 5, "tv_usec": 6'
    )
    twice = text.ljust(120) + b"}" + good[121:]
    for data in (good + twice, twice + good):
        readable, values = decode(data, "ph256")
        assert readable.all()
        for frame, found in zip((data[:636], data[636:]), values, strict=True):
            assert list(found) == read_header(frame[:121], "ph256")


def test_deep_nesting_is_unreadable():
    """A header that exhausts the JSON parser is unreadable, not fatal."""
    assert parse_header(b"[" * 100_000, PRODUCTS["ph256"]) is None


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16-le", "utf-16-be", "utf-32-le"])
def test_headers_that_json_reads_in_other_encodings(encoding):
    """What ``json.loads`` detects and reads is readable, also where it gives the layout."""
    text = print_header("img16", BOARDS).rstrip(b"\n").decode().encode(encoding)
    data = (text + b"\n\n*" + bytes(PRODUCTS["img16"].pixel_bytes)) * 3
    readable, values = decode(data, "img16")
    assert readable.all()
    assert values[1].tolist() == read_header(text, "img16")
