"""The fast path agrees with ``json.loads`` on every byte string."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support.reference_store import BOARD, print_header, read_header

from panoseti_zarr.core.pff.framing import HEADER_END
from panoseti_zarr.core.pff.headers import HeaderDecoder
from panoseti_zarr.model import PRODUCTS, FrameLayout, header_specs

NUMBERS = (5124, 229, 999_999_999, 1_754_112_728, 985_339)
GOOD = {
    product: print_header(product, [NUMBERS] * 4, quabo_num=3) for product in ("img16", "ph256")
}

edits = st.lists(
    st.tuples(
        st.integers(0, 490),
        st.one_of(
            st.binary(min_size=1, max_size=3),
            st.text('0123456789 -.eE"{}[],:\n\ttrue', min_size=1, max_size=12).map(str.encode),
        ),
    ),
    max_size=6,
)


def decode_one(product, header_with_star):
    good = GOOD[product]
    layout = FrameLayout(len(good), len(good) + 1 + PRODUCTS[product].pixel_bytes, good)
    decoder = HeaderDecoder.of(layout, PRODUCTS[product])
    assert decoder.numbers, "the DAQ's header must take the fast path"
    frames = np.zeros((3, layout.frame_bytes), np.uint8)
    for row, text in zip(frames, (good + b"*", header_with_star, good + b"*"), strict=True):
        row[: len(text)] = np.frombuffer(text, np.uint8)
    out = [np.zeros(3, spec.dtype) for spec in header_specs(PRODUCTS[product])]
    readable = decoder.decode(frames, out)
    assert readable[0]
    assert readable[2]
    return [int(column[1]) for column in out] if readable[1] else None


@given(st.sampled_from(sorted(GOOD)), edits)
def test_edited_headers(product, changes):
    """Any overwritten bytes: readable exactly when json.loads says so, with the same values."""
    header = bytearray(GOOD[product] + b"*")
    for position, new in changes:
        start = position % len(header)
        header[start : start + len(new)] = new[: len(header) - start]
    text = bytes(header)
    expected = read_header(text[:-3], product) if text.endswith(HEADER_END) else None
    assert decode_one(product, text) == expected


@given(
    st.lists(
        st.tuples(
            st.integers(0, 10**10 - 1),
            st.integers(0, 9999),
            st.integers(0, 10**9 - 1),
            st.integers(-(10**8), 10**10 - 1),
            st.integers(0, 10**6 - 1),
        ),
        min_size=4,
        max_size=4,
    )
)
def test_printed_numbers(boards):
    """Every number that fits the DAQ's widths decodes to itself, or is beyond its dtype."""
    text = print_header("img16", boards)
    assert decode_one("img16", text + b"*") == read_header(text, "img16")


@given(st.integers(-(2**70), 2**70), st.sampled_from(NUMBERS))
def test_numbers_of_any_size(number, replaced):
    """A number of any length in a template of its own is read as json.loads reads it."""
    text = ('{ "quabo_num": 0, ' + BOARD % NUMBERS + "\n\n").encode()
    text = text.replace(str(replaced).encode(), str(number).encode(), 1)
    expected = read_header(text, "ph256")
    if expected is None:
        return
    product = PRODUCTS["ph256"]
    layout = FrameLayout(len(text), len(text) + 1 + product.pixel_bytes, text)
    frames = np.zeros((1, layout.frame_bytes), np.uint8)
    frames[0, : len(text) + 1] = np.frombuffer(text + b"*", np.uint8)
    out = [np.zeros(1, spec.dtype) for spec in header_specs(product)]
    assert HeaderDecoder.of(layout, product).decode(frames, out).all()
    assert [int(column[0]) for column in out] == expected == list(_fields(json.loads(text)))


def _fields(document):
    return (
        document[key]
        for key in ("quabo_num", "pkt_num", "pkt_tai", "pkt_nsec", "tv_sec", "tv_usec")
    )
