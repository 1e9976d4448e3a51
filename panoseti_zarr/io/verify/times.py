"""The time and the quality that a frame must have, from its header fields.

Part of `verify`: a second telling of the rules, which shares nothing with `convert`'s. White
Rabbit (WR) time comes as TAI seconds modulo 1024. The WR second is the Unix second nearest to
``tv_sec`` that agrees with ``pkt_tai - 37`` modulo 1024 (TAI - UTC is 37 s since 2017). Where it
is more than 1 s away, the board's clock is not locked and the DAQ's time stands. Source: the
PANOSETI DAQ software.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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

UNREADABLE = int(Quality.HEADER_UNREADABLE | Quality.NO_TIME)
"""The quality of a frame whose header cannot be read."""

_INT64_MAX = int(np.iinfo(np.int64).max)
_SMALL_S = 9_000_000_000
"""Up to this many seconds either side of 1970 a time in ns, with any fraction, fits int64."""

Fields = Mapping[str, npt.NDArray[np.int64]]


def board_paths(product: Product) -> list[str]:
    """Return the group of each board's five header fields, in the order of the quabos."""
    if product.form is HeaderForm.QUABO:
        return ["headers"]
    return [f"headers/quabo_{quabo}" for quabo in range(N_QUABOS)]


def board_time_ns(pkt_tai: int, pkt_nsec: int, tv_sec: int, tv_usec: int) -> tuple[int, bool]:
    """Return one board's time, in exact integers, and whether its clock was locked.

    Returns
    -------
    time_ns : int
        Nanoseconds since 1970-01-01 UTC; `TIME_MISSING_NS` where int64 does not hold it.
    locked : bool

    Examples
    --------
    >>> board_time_ns(pkt_tai=400, pkt_nsec=480007492, tv_sec=1686198635, tv_usec=480461)
    (1686198635480007492, True)
    """
    shift_s = (pkt_tai - 37 - tv_sec + 512) % 1024 - 512
    locked = abs(shift_s) <= 1
    if locked:
        time_ns = (tv_sec + shift_s) * 10**9 + pkt_nsec
    else:
        time_ns = tv_sec * 10**9 + tv_usec * 1000
    return (time_ns if abs(time_ns) <= _INT64_MAX else TIME_MISSING_NS), locked


def expected_times(
    headers: Mapping[str, npt.NDArray[np.generic]], product: Product
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint16]]:
    """Give each frame with a readable header its time and its quality bits.

    Parameters
    ----------
    headers : mapping of str to ndarray, each of shape (n_frames,)
        The header arrays by their path in the store.
    product : Product

    Returns
    -------
    timestamps : ndarray of int64, shape (n_frames,)
        Nanoseconds since 1970-01-01 UTC, `TIME_MISSING_NS` if it is missing.
    quality : ndarray of uint16, shape (n_frames,)
        Bits of `Quality`.
    """
    boards = [
        {name: headers[f"{path}/{name}"].astype(np.int64) for name in MODULE_FIELDS}
        for path in board_paths(product)
    ]
    sent = [np.logical_or.reduce([board[name] != 0 for name in MODULE_FIELDS]) for board in boards]
    quality = np.zeros(len(sent[0]), np.uint16)
    for quabo, board in enumerate(boards):
        clamped = sent[quabo] & (board["pkt_nsec"] == 999_999_999)
        quality |= clamped.astype(np.uint16) * np.uint16(Quality.NSEC_CLAMPED)
        if product.form is HeaderForm.MODULE:
            quality |= (~sent[quabo]).astype(np.uint16) << np.uint16(quabo)
    any_sent = np.logical_or.reduce(sent)
    times, locked = _times_of(_first_board(boards, sent))
    times = np.where(any_sent, times, TIME_MISSING_NS)
    quality |= (any_sent & ~locked).astype(np.uint16) * np.uint16(Quality.WR_NOT_LOCKED)
    quality |= (times == TIME_MISSING_NS).astype(np.uint16) * np.uint16(Quality.NO_TIME)
    return times, quality


def _first_board(boards: Sequence[Fields], sent: Sequence[npt.NDArray[np.bool_]]) -> Fields:
    """Return the fields of each frame's first board that sent."""
    chosen = dict(boards[-1])
    for board, has_sent in list(zip(boards, sent, strict=True))[-2::-1]:
        chosen = {name: np.where(has_sent, board[name], chosen[name]) for name in MODULE_FIELDS}
    return chosen


def _times_of(board: Fields) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return times and locks of one board's frames; `board_time_ns` decides the rare large ones."""
    tai, nsec, tv_sec, tv_usec = (board[name] for name in MODULE_FIELDS[1:])
    small = (tv_sec >= -_SMALL_S) & (tv_sec <= _SMALL_S)
    second = np.where(small, tv_sec, 0)
    shift_s = ((tai - 37 - second + 512) & 1023) - 512
    locked = np.abs(shift_s) <= 1
    daq_ns = second * 10**9 + tv_usec * 1000
    times = np.where(locked, (second + shift_s) * 10**9 + nsec, daq_ns)
    for i in np.flatnonzero(~small):
        times[i], locked[i] = board_time_ns(
            int(tai[i]), int(nsec[i]), int(tv_sec[i]), int(tv_usec[i])
        )
    return times, locked
