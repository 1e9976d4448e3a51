"""A sample of a long stream, spread evenly over it. Pure."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

Range = tuple[int, int]

MOST_CHUNKS = 2048
"""Chunks of times and quality that are read: 67 million frames in chunks of 32,768."""

MOST_PIECES = 200
MOST_BYTES = 512_000_000
"""Of images that are read, decoded."""


def spread(n: int, most: int) -> list[int]:
    """Return at most this many of ``n`` places, evenly spread, the first and the last among them.

    Examples
    --------
    >>> spread(9, 3), spread(2, 3), spread(0, 3)
    ([0, 4, 8], [0, 1], [])
    """
    chosen = np.linspace(0, n - 1, min(n, most))
    return [int(place) for place in np.rint(chosen)]


def choose_ranges(n_frames: int, chunk_frames: int, most: int = MOST_CHUNKS) -> list[Range]:
    """Return the frames of the chunks that are looked at, half open."""
    return [
        (index * chunk_frames, min((index + 1) * chunk_frames, n_frames))
        for index in spread(-(-n_frames // chunk_frames), most)
    ]


def choose_pieces(
    ranges: list[Range], piece_frames: int, frame_bytes: int, most: int = MOST_PIECES
) -> list[Range]:
    """Return the pieces of images that are looked at, within some chunks.

    Parameters
    ----------
    ranges : list of (start, stop)
        Frames of the chunks; each begins with a piece.
    piece_frames : int
        Frames that are decoded together.
    frame_bytes : int
        Of a frame, decoded.
    most : int
        The most pieces, and of large ones fewer: `MOST_BYTES` in all.
    """
    pieces = [
        (begin, min(begin + piece_frames, stop))
        for start, stop in ranges
        for begin in range(start, stop, piece_frames)
    ]
    most = min(most, max(2, MOST_BYTES // (piece_frames * frame_bytes)))
    return [pieces[place] for place in spread(len(pieces), most)]


def split_range(start: int, stop: int, n_parts: int) -> list[Range]:
    """Cut frames into parts of almost the same size, none of them empty.

    Examples
    --------
    >>> split_range(0, 5, 2), split_range(7, 9, 5)
    ([(0, 2), (2, 5)], [(7, 8), (8, 9)])
    """
    n_parts = max(1, min(n_parts, stop - start))
    edges = np.linspace(start, stop, n_parts + 1).astype(int).tolist()
    return list(pairwise(edges))
