"""The decoder of headers, and the search for a file's layout, against ``json.loads``."""

import numpy as np
from fuzzing import fuzz
from hypothesis import strategies as st
from odd_headers import HEADER_ENDS, blocks, files, headers
from support.reference_store import PIXELS, frame_length, pixel_bytes, read_header

from panoseti_zarr.core.pff.framing import find_layout, parse_header
from panoseti_zarr.core.pff.headers import HeaderDecoder
from panoseti_zarr.model import PRODUCTS, FrameLayout, header_specs

products = st.sampled_from(sorted(PIXELS))
forms = st.sampled_from(("img16", "ph256"))


@fuzz(1500, drawn=forms.flatmap(lambda form: st.tuples(st.just(form), headers(form))))
def test_one_header(drawn):
    """Any header: the same integers as by json.loads, or unreadable for both."""
    product, text = drawn
    found = parse_header(text, PRODUCTS[product])
    expected = read_header(text, product)
    assert (None if found is None else list(found)) == expected


@fuzz(
    1200, drawn=forms.flatmap(lambda form: st.tuples(st.just(form), blocks(form))), data=st.data()
)
def test_blocks_of_headers(drawn, data):
    """Any headers of one length, after any readable one as the template: each as by json.loads."""
    product, texts = drawn
    whole = [text + data.draw(st.sampled_from(HEADER_ENDS)) for text in texts]
    expected = [
        read_header(line[:-3], product) if line.endswith(b"\n\n*") else None for line in whole
    ]
    readable = [text for text, values in zip(texts, expected, strict=True) if values is not None]
    if not readable:
        return
    template = readable[0] + b"\n\n"
    frame_bytes = len(template) + 1 + pixel_bytes(product)
    decoder = HeaderDecoder.of(FrameLayout(len(template), frame_bytes, template), PRODUCTS[product])
    frames = np.frombuffer(b"".join(whole), np.uint8).reshape(len(whole), -1)
    out = [np.full(len(whole), 7, spec.dtype) for spec in header_specs(PRODUCTS[product])]
    flags = decoder.decode(frames, out)
    found = [[int(column[i]) for column in out] if flags[i] else None for i in range(len(whole))]
    assert found == expected
    assert not any(column[~flags].any() for column in out)


@fuzz(400, file=products.flatmap(files))
def test_layouts_of_files(file):
    """Any file: the frame length that the first readable header gives, or none."""
    data, product = file.data, file.product
    layout = find_layout(lambda offset, n: data[offset : offset + n], len(data), PRODUCTS[product])
    assert (layout and layout.frame_bytes) == frame_length(data, product)
