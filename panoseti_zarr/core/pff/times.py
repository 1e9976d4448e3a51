"""The time and the quality of a frame, from its header fields.

A board prints White Rabbit (WR) time as TAI seconds modulo 1024 (``pkt_tai``) and nanoseconds;
the DAQ computer adds its own Unix time (``tv_sec``, ``tv_usec``) when the packet arrives. With
``d = (tv_sec - pkt_tai + 37) mod 1024`` (37 s: TAI - UTC since 2017) the WR second is ``tv_sec``
for d = 0, ``tv_sec - 1`` for 1 and ``tv_sec + 1`` for 1023, and the time is that second plus
``pkt_nsec``. For any other d the board's WR clock is not locked and the time is the DAQ's,
``tv_sec`` and ``tv_usec``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from panoseti_zarr.model import (
    MODULE_FIELDS,
    N_QUABOS,
    TIME_MISSING_NS,
    HeaderForm,
    Product,
    Quality,
)

TAI_MINUS_UTC_S = 37
TAI_PERIOD_S = 1024
NSEC_CLAMPED = 999_999_999
"""What the DAQ prints for any ``pkt_nsec`` above it."""

_NS_PER_S = 1_000_000_000
_LAST_TIME_NS = int(np.iinfo(np.int64).max)
_WHOLE_S = _LAST_TIME_NS // _NS_PER_S

Int64 = npt.NDArray[np.int64]


def times_and_quality(
    fields: Sequence[npt.NDArray[np.generic]], readable: npt.NDArray[np.bool_], product: Product
) -> tuple[Int64, npt.NDArray[np.uint16]]:
    """Give each frame its time and its quality bits.

    The time of a module frame is that of its first quabo that sent. Bit 4 says that this board's
    clock was not locked, also where its time is beyond int64 (then bit 7 is set too).

    Parameters
    ----------
    fields : sequence of ndarray, each of shape (n_frames,)
        In the order of `panoseti_zarr.model.header_specs`, 0 in unreadable headers.
    readable : ndarray of bool, shape (n_frames,)
    product : Product

    Returns
    -------
    timestamps : ndarray of int64, shape (n_frames,)
        Nanoseconds since 1970-01-01 UTC; `TIME_MISSING_NS` if it is missing.
    quality : ndarray of uint16, shape (n_frames,)
        Bits of `Quality`.
    """
    n_boards = 1 if product.form is HeaderForm.QUABO else N_QUABOS
    n_fields = len(MODULE_FIELDS)
    boards = [fields[len(fields) - n_fields * (n_boards - i) :][:n_fields] for i in range(n_boards)]
    sent = [np.any([field != 0 for field in board], axis=0) for board in boards]
    quality = np.zeros(len(readable), np.uint16)
    if product.form is HeaderForm.MODULE:
        for quabo, has_sent in enumerate(sent):
            quality[~has_sent] |= np.uint16(1 << quabo)
    for board, has_sent in zip(boards, sent, strict=True):
        clamped = has_sent & (board[2] == NSEC_CLAMPED)
        quality[clamped] |= np.uint16(Quality.NSEC_CLAMPED)

    times, locked, in_range = _board_times(_first_sent(boards, sent))
    any_sent = np.logical_or.reduce(sent)
    quality[any_sent & ~locked] |= np.uint16(Quality.WR_NOT_LOCKED)
    has_time = any_sent & in_range
    quality[~has_time] |= np.uint16(Quality.NO_TIME)
    times[~has_time] = TIME_MISSING_NS
    quality[~readable] = np.uint16(Quality.HEADER_UNREADABLE | Quality.NO_TIME)
    return times, quality


def iso_time(time_ns: int) -> str:
    """Return a time as ISO 8601 text, UTC, to the nanosecond.

    Examples
    --------
    >>> iso_time(1_686_198_635_480_007_492)
    '2023-06-08T04:30:35.480007492Z'
    """
    return f"{np.datetime64(time_ns, 'ns')}Z"


def _first_sent(
    boards: Sequence[Sequence[npt.NDArray[np.generic]]], sent: Sequence[npt.NDArray[np.bool_]]
) -> list[npt.NDArray[np.generic]]:
    """Return the fields of the first board that sent, frame by frame (of the last, if none)."""
    if sent[0].all():
        return list(boards[0])
    return [
        np.select(list(sent), [board[i] for board in boards], boards[-1][i])
        for i in range(len(MODULE_FIELDS))
    ]


def _board_times(
    board: Sequence[npt.NDArray[np.generic]],
) -> tuple[Int64, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return a board's times in ns, whether WR was locked, and whether int64 holds the time."""
    tai, nsec, tv_sec, tv_usec = (field.astype(np.int64) for field in board[1:])
    # int64 may wrap here for absurd tv_sec; 1024 divides 2**64, so the remainder stays right.
    difference = (tv_sec - tai + TAI_MINUS_UTC_S) % TAI_PERIOD_S
    locked = (difference <= 1) | (difference == TAI_PERIOD_S - 1)
    step = np.where(difference == 1, -1, np.where(difference == TAI_PERIOD_S - 1, 1, 0))
    second = np.where(locked, tv_sec + step, tv_sec)
    fraction_ns = np.where(locked, nsec, tv_usec * 1000)
    times = second * _NS_PER_S + fraction_ns
    in_range = np.ones(len(times), bool)
    # Beyond this the sum may wrap (a fraction is under 4.3e12 ns): exact integers decide.
    limit = _WHOLE_S - 5_000
    for index in np.flatnonzero((tv_sec > limit) | (tv_sec < -limit)):
        exact = (int(tv_sec[index]) + int(step[index]) * bool(locked[index])) * _NS_PER_S
        exact += int(fraction_ns[index])
        in_range[index] = TIME_MISSING_NS < exact <= _LAST_TIME_NS
        times[index] = exact if in_range[index] else TIME_MISSING_NS
    return times, locked, in_range
