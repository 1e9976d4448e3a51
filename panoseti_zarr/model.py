"""The field's terms: products, streams, files, quality bits and the arrays of a store.

Plain immutable data, no behaviour beyond naming. Sources of the numbers: the PFF format of the
PANOSETI data acquisition (DAQ) software; quabo placement: its image assembly, clockwise from
the upper left.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag, StrEnum

import numpy as np

TIME_MISSING_NS = int(np.iinfo(np.int64).min)
"""``timestamps`` of a frame without a time: NaT, the int64 minimum."""

MODULE_FIELDS = ("pkt_num", "pkt_tai", "pkt_nsec", "tv_sec", "tv_usec")
"""The five header fields that each quabo of a frame has."""

HEADER_DTYPES: dict[str, np.dtype[np.generic]] = {
    "quabo_num": np.dtype(np.uint8),
    "pkt_num": np.dtype(np.uint32),
    "pkt_tai": np.dtype(np.uint16),
    "pkt_nsec": np.dtype(np.uint32),
    "tv_sec": np.dtype(np.int64),
    "tv_usec": np.dtype(np.uint32),
}
"""The dtype that a header field must fit and is stored in."""

N_QUABOS = 4

QUABO_QUARTERS: tuple[tuple[slice, slice], ...] = (
    (slice(0, 16), slice(0, 16)),
    (slice(0, 16), slice(16, 32)),
    (slice(16, 32), slice(16, 32)),
    (slice(16, 32), slice(0, 16)),
)
"""Rows and columns of a module frame that quabo i fills: clockwise from the upper left."""


class HeaderForm(StrEnum):
    """How a frame's JSON header is laid out."""

    QUABO = "quabo"
    MODULE = "module"


@dataclass(frozen=True)
class Product:
    """One data product of the DAQ.

    Attributes
    ----------
    name : str
        As in file names (``img16``).
    form : HeaderForm
        One board's header, or one header of four boards.
    dtype : numpy.dtype
        Of a pixel, little-endian.
    height, width : int
        Pixels of a frame.
    today_header_bytes : int
        Header length that today's DAQ prints, both newlines in. For judging files without a
        readable header only: real lengths are measured.
    """

    name: str
    form: HeaderForm
    dtype: np.dtype[np.generic]
    height: int
    width: int
    today_header_bytes: int

    @property
    def pixel_bytes(self) -> int:
        """Bytes of one frame's pixels."""
        return self.height * self.width * self.dtype.itemsize

    @property
    def today_frame_bytes(self) -> int:
        """Bytes of one frame as today's DAQ prints it: header, ``*``, pixels."""
        return self.today_header_bytes + 1 + self.pixel_bytes

    @property
    def is_pulse_height(self) -> bool:
        """Whether frames are triggered pulses rather than images."""
        return self.name.startswith("ph")


PRODUCTS: dict[str, Product] = {
    p.name: p
    for p in (
        Product("img16", HeaderForm.MODULE, np.dtype("<u2"), 32, 32, 491),
        Product("img8", HeaderForm.MODULE, np.dtype("<u1"), 32, 32, 491),
        Product("ph1024", HeaderForm.MODULE, np.dtype("<i2"), 32, 32, 491),
        Product("ph256", HeaderForm.QUABO, np.dtype("<i2"), 16, 16, 123),
    )
}
"""The four data products, by name."""


class Quality(IntFlag):
    """Bits of the ``quality`` array (uint16); the names are its CF ``flag_meanings``."""

    QUABO_0_MISSING = 1 << 0
    QUABO_1_MISSING = 1 << 1
    QUABO_2_MISSING = 1 << 2
    QUABO_3_MISSING = 1 << 3
    WR_NOT_LOCKED = 1 << 4
    NSEC_CLAMPED = 1 << 5
    HEADER_UNREADABLE = 1 << 6
    NO_TIME = 1 << 7


@dataclass(frozen=True)
class ArraySpec:
    """One array of an L0 store: path inside it, dtype, and its dimensions after time."""

    path: str
    dtype: np.dtype[np.generic]
    frame_shape: tuple[int, ...] = ()
    frame_dims: tuple[str, ...] = ()


def header_specs(product: Product) -> tuple[ArraySpec, ...]:
    """Return the header arrays of a product, in the order in which a header prints them.

    ``headers/<field>`` for `HeaderForm.QUABO`, ``headers/quabo_<i>/<field>`` for the other.
    """
    if product.form is HeaderForm.QUABO:
        return tuple(
            ArraySpec(f"headers/{field}", HEADER_DTYPES[field])
            for field in ("quabo_num", *MODULE_FIELDS)
        )
    return tuple(
        ArraySpec(f"headers/quabo_{quabo}/{field}", HEADER_DTYPES[field])
        for quabo in range(N_QUABOS)
        for field in MODULE_FIELDS
    )


def array_specs(product: Product) -> tuple[ArraySpec, ...]:
    """Return every array of the L0 store of a product; the first dimension of each is time."""
    return (
        ArraySpec("images", product.dtype, (product.height, product.width), ("y", "x")),
        ArraySpec("timestamps", np.dtype(np.int64)),
        ArraySpec("quality", np.dtype(np.uint16)),
        *header_specs(product),
    )


@dataclass(frozen=True, order=True)
class StreamKey:
    """Names a stream within its run: data product and module."""

    product: str
    module: int

    def __str__(self) -> str:
        """Give the form used in logs and messages: ``dp_img16.module_3``."""
        return f"dp_{self.product}.module_{self.module}"

    @classmethod
    def parse(cls, text: str) -> StreamKey:
        """Return the stream of a name such as ``dp_img16.module_3``.

        Raises
        ------
        ValueError
            It is not such a name.
        """
        product, separator, module = text.removeprefix("dp_").partition(".module_")
        if not separator:
            raise ValueError(f"not the name of a stream: {text}")
        return cls(product, int(module))


@dataclass(frozen=True)
class Identity:
    """The identity of a file (inodes are compared within one process only)."""

    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int

    def may_have_grown_from(self, before: Identity) -> bool:
        """Whether this may be the same file later: the same inode, and not shorter.

        Where space is reserved a file has its size before its bytes.
        """
        return self.inode == before.inode and self.size_bytes >= before.size_bytes

    def has_grown_from(self, before: Identity) -> bool:
        """Whether this is the same file later, as it was or longer."""
        is_longer = self.inode == before.inode and self.size_bytes > before.size_bytes
        return self == before or is_longer


@dataclass(frozen=True)
class FrameLayout:
    """How the frames of one file are laid out.

    Attributes
    ----------
    header_bytes : int
        Length of the header, both newlines in; a ``*`` and the pixels follow.
    frame_bytes : int
        Length of a whole frame.
    template : bytes
        The first readable header, to compare the others with.
    """

    header_bytes: int
    frame_bytes: int
    template: bytes


@dataclass(frozen=True)
class SourceFile:
    """One non-empty frame file of a stream, as it was when it was looked at.

    Attributes
    ----------
    path : str
        Where it is.
    name : str
        Its last name.
    seqno : int
        Its place in the stream.
    identity : Identity
        Taken before anything was read.
    layout : FrameLayout or None
        None where the file is shorter than one frame.
    n_frames : int
        Whole frames.
    trailing_bytes : int
        Bytes after the last whole frame: not 0 means the file was cut short, or grows.
    may_grow : bool
        It is being written: the same inode, not shorter, is still this file.
    """

    path: str
    name: str
    seqno: int
    identity: Identity
    layout: FrameLayout | None
    n_frames: int
    trailing_bytes: int
    may_grow: bool = False

    @property
    def counted_bytes(self) -> int:
        """Bytes of the whole frames."""
        return self.identity.size_bytes - self.trailing_bytes

    def is_still(self, identity: Identity) -> bool:
        """Whether the file that has this identity now is the one that was looked at."""
        if not self.may_grow:
            return identity == self.identity
        return identity.may_have_grown_from(self.identity)
