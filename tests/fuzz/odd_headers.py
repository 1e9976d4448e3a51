"""Strategies for headers: the DAQ's own, and what disks, bugs and malice can make of them."""

import json
from dataclasses import dataclass

from hypothesis import strategies as st
from support.reference_store import BOARD, FIELDS, pixel_bytes

ODD_NUMBERS = (
    b"-1", b"-0", b"00", b"007", b"+5", b"1.0", b"1e3", b"1E0", b"0x10", b"1_000", b"true",
    b"false", b"null", b'"5"', b"[5]", b"{}", b"NaN", b"Infinity", b"-Infinity", b"", b" ", b"5 5",
    b"255", b"256", b"65535", b"65536", b"4294967295", b"4294967296", b"9223372036854775807",
    b"9223372036854775808", b"-9223372036854775808", b"-9223372036854775809",
    b"18446744073709551615", b"18446744073709551616", b"999999999999999999",
    b"1" + b"0" * 30, b"9" * 300, "\u0665".encode(), "\uff15".encode(), "5\u0665".encode(), b"5\0",
    b"\t5", b"5\t", b"\n5", b"\r5\r", b"\x0b5", b"\xa05", b"5\xa0", b"\xb2", b"5/**/", b"5//",
)  # fmt: skip
"""What may stand in a number's place, JSON or not."""

ODD_BYTES = (
    b"\0", b"\xff", b"\xfe\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xc0\xaf", b"\n\n*", b"\n\n",
    b"*", b"\\u0000", b"\\", b'"', b"{", b"}", b",", b":", b" ", b"\t", b"\x1f", b"-", b".", b"e",
)  # fmt: skip
ENCODINGS = ("utf-8-sig", "utf-16-le", "utf-16-be", "utf-16", "utf-32-le", "utf-32-be")
NESTINGS = (1, 5, 200, 900, 1100, 1900)
BLANKS = b" \t\n\r"

boards = st.tuples(
    st.one_of(st.integers(0, 2**32 - 1), st.sampled_from([0, 2**32])),
    st.integers(0, 1100),
    st.one_of(st.integers(0, 10**9), st.sampled_from([0, 999_999_999])),
    st.one_of(st.integers(1_600_000_000, 1_800_000_000), st.sampled_from([0, 1, 9_999_999_999])),
    st.integers(0, 999_999),
)
no_board = st.just((0, 0, 0, 0, 0))
four_boards = st.lists(st.one_of(boards, boards, no_board), min_size=4, max_size=4)


@st.composite
def printed(draw, product):
    """Draw a header without its newlines: as the DAQ prints it, or other JSON of the same."""
    values = draw(four_boards)
    quabo_num = draw(st.integers(0, 9))
    form = draw(st.sampled_from(("daq", "daq", "daq", "wide", "compact", "indented")))
    if form in {"daq", "wide"}:
        board = BOARD if form == "daq" else BOARD.replace("%", "%2")
        if product == "ph256":
            text = f'{{ "quabo_num": {quabo_num}, ' + board % values[0]
        else:
            lines = [f'   "quabo_{i}": {{ ' + board % value for i, value in enumerate(values)]
            text = "{\n" + ", \n".join(lines) + "\n}"
        return text.encode()
    document = _document(product, values, quabo_num)
    if form == "compact":
        return json.dumps(document, separators=(",", ":")).encode()
    return json.dumps(document, indent=draw(st.integers(0, 4))).encode()


def _document(product, values, quabo_num):
    fields = [dict(zip(FIELDS, value, strict=True)) for value in values]
    if product == "ph256":
        return {"quabo_num": quabo_num, **fields[0]}
    return {f"quabo_{i}": field for i, field in enumerate(fields)}


@st.composite
def edited_document(draw, product):
    """Draw a header whose keys are reordered, doubled, renamed, missing, or hold other things."""
    document = _document(product, draw(four_boards), draw(st.integers(0, 9)))
    pairs = _pairs(document)
    for _ in range(draw(st.integers(1, 3))):
        where = pairs
        place = draw(st.integers(0, len(where) - 1))
        if isinstance(where[place][1], list) and draw(st.booleans()):
            where = where[place][1]
            place = draw(st.integers(0, len(where) - 1)) if where else 0
        if where:
            _edit(draw, where, place)
        if not pairs:
            break
    return _join(pairs, draw(st.sampled_from(((b", ", b": "), (b",", b":"), (b" ,\n", b" :\t")))))


def _edit(draw, pairs, place):
    key, value = pairs[place]
    kind = draw(st.sampled_from(("swap", "double", "drop", "escape", "other", "nest", "add")))
    if kind == "swap":
        other = draw(st.integers(0, len(pairs) - 1))
        pairs[place], pairs[other] = pairs[other], pairs[place]
    elif kind == "double":
        again = draw(st.one_of(st.just(value), st.sampled_from(ODD_NUMBERS)))
        pairs.insert(draw(st.integers(0, len(pairs))), (key, again))
    elif kind == "drop":
        del pairs[place]
    elif kind == "escape":
        pairs[place] = (b"\\u%04x" % key[0] + key[1:], value)
    elif kind == "other":
        pairs[place] = (key, draw(st.sampled_from(ODD_NUMBERS)))
    else:
        depth = draw(st.sampled_from(NESTINGS))
        opened, closed = draw(st.sampled_from(((b"[", b"]"), (b'{"a":', b"}"))))
        nested = opened * depth + b"1" + closed * depth
        if kind == "nest":
            pairs[place] = (key, nested)
        else:
            pairs.insert(place, (draw(st.sampled_from((b"x", key, b'\\"pkt_num\\": 5'))), nested))


def _pairs(document):
    return [
        (key.encode(), _pairs(value) if isinstance(value, dict) else b"%d" % value)
        for key, value in document.items()
    ]


def _join(pairs, marks):
    comma, colon = marks
    parts = (
        b'"' + key + b'"' + colon + (_join(value, marks) if isinstance(value, list) else value)
        for key, value in pairs
    )
    return b"{" + comma.join(parts) + b"}"


@st.composite
def damaged(draw, product):
    """Draw a header with bytes changed, put in, or taken out; or in another encoding."""
    text = bytearray(draw(printed(product)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        stop = min(len(text), start + draw(st.integers(0, 12)))
        kind = draw(st.sampled_from(("put", "put", "flip", "number", "any", "cut")))
        if kind == "put":
            odd = draw(st.sampled_from(ODD_BYTES))
            text[start : start + draw(st.sampled_from((0, len(odd))))] = odd
        elif kind == "flip" and start < len(text):
            text[start] ^= 1 << draw(st.integers(0, 7))
        elif kind == "number":
            _put_number(text, start, draw(st.sampled_from(ODD_NUMBERS)))
        elif kind == "any":
            text[start:stop] = draw(st.binary(max_size=12))
        elif kind == "cut":
            del text[start:stop]
    return bytes(text)


def _put_number(text, start, odd):
    """Put something in the place of the number that comes next, and of the blanks before it."""
    start = text.find(b":", start) + 1
    stop = start
    while stop < len(text) and text[stop] in b" 0123456789":
        stop += 1
    text[start:stop] = odd.rjust(stop - start)


@st.composite
def recoded(draw, product, encodings):
    """Draw a header in another of the encodings that ``json.loads`` detects."""
    text = draw(printed(product)).decode()
    return text.encode(draw(st.sampled_from(encodings)))


def headers(product, encodings=ENCODINGS):
    """Return the strategy for one header, readable or not, of any length, without newlines."""
    return st.one_of(
        printed(product),
        damaged(product),
        damaged(product),
        edited_document(product),
        recoded(product, encodings),
        st.binary(max_size=200),
    )


@st.composite
def blocks(draw, product, max_headers=6):
    """Draw headers of one length: blanks are put where JSON allows them, or anything is cut."""
    texts = draw(st.lists(headers(product, ENCODINGS), min_size=1, max_size=max_headers))
    length = draw(st.sampled_from([len(text) for text in texts]))
    if draw(st.integers(0, 3)):
        good = draw(printed(product))
        texts.insert(draw(st.integers(0, len(texts))), good)
        length = len(good)
    return [_fitted(draw, text, max(2, length)) for text in texts]


def _fitted(draw, text, length):
    missing = length - len(text)
    if missing <= 0:
        return text[:length]
    blanks = bytes([draw(st.sampled_from(BLANKS))]) * missing
    place = draw(st.sampled_from(("start", "end", "colon")))
    if place == "start":
        return blanks + text
    colon = text.find(b":", draw(st.integers(0, len(text)))) + 1 if place == "colon" else 0
    return text[:colon] + blanks + text[colon:] if colon else text + blanks


HEADER_ENDS = (b"\n\n*",) * 6 + (b"\n *", b"\n\n+", b"\0\0\0")
ODD_PIXELS = (b"\0", b"\n", b" ", b"\xff", b"{}\n\n*" + bytes(120), b"the header")


@dataclass(frozen=True)
class OddFile:
    """A frame file: headers with their ends, what fills the pixels, what is before and cut off."""

    product: str
    heads: tuple[bytes, ...]
    fill: bytes
    before: bytes
    n_cut: int

    @property
    def data(self) -> bytes:
        """The bytes of the file."""
        n_pixels = pixel_bytes(self.product)
        fill = self.heads[0] if self.fill == b"the header" else self.fill
        pixels = (fill * n_pixels)[:n_pixels]
        frames = (head + pixels for head in self.heads)
        data = self.before + b"".join(frames)
        return data[: max(0, len(data) - self.n_cut)]


@st.composite
def files(draw, product):
    """Draw a small file of frames of one length, and what may lie around and in them."""
    texts = draw(blocks(product, max_headers=4))
    return OddFile(
        product,
        tuple(text + draw(st.sampled_from(HEADER_ENDS)) for text in texts),
        draw(st.sampled_from(ODD_PIXELS)),
        draw(st.sampled_from((b"", b"", b"", b"\n", b"{", b"\0" * 636))),
        draw(st.sampled_from((0, 0, 1, 300, 2000))),
    )
