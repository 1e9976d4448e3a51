"""The result of a verification: at most one difference, and the report around it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from panoseti_zarr.core.text import count
from panoseti_zarr.errors import one_line

Value = str | int | float | None
"""A value of either side, as JSON can hold it."""


@dataclass(frozen=True)
class Difference:
    """The first place where a store is not what it must be.

    Attributes
    ----------
    what : str
        Array, chunk or metadata entry (``images[12, 3, 4]``, ``zarr.json attributes/gaps``).
    stored, expected : str, int, float or None
        What the store holds, and what the files or the format say it must hold.
    note : str
        Why, where the two values do not say it.
    frame_index : int or None
        Frame of the store (for a chunk: its first).
    file : str or None
        Frame file concerned; of damage in the store, the path of the file in it.
    file_frame_index : int or None
        Frame of that file.
    byte_offset : int or None
        Offset in that file, bytes.
    damage : str
        What is wrong with a file of the store that cannot be read, in two words.
    """

    what: str
    stored: Value
    expected: Value
    note: str = ""
    frame_index: int | None = None
    file: str | None = None
    file_frame_index: int | None = None
    byte_offset: int | None = None
    damage: str = ""

    def __str__(self) -> str:
        """Say it on one line, the places in brackets; damage first, with the file's path."""
        if self.damage:
            frames = "" if self.frame_index is None else f" (from frame {self.frame_index} on)"
            return one_line(f"{self.damage}: {self.file}: {self.note}{frames}")
        places = [
            f"{label} {value}"
            for label, value in (
                ("frame", self.frame_index),
                ("file", self.file),
                ("frame of the file", self.file_frame_index),
                ("byte", self.byte_offset),
            )
            if value is not None
        ]
        text = f"{self.what}: store has {self.stored!r}, must be {self.expected!r}"
        text += f": {self.note}" if self.note else ""
        return one_line(f"{text} ({', '.join(places)})" if places else text)


@dataclass(frozen=True)
class VerifyReport:
    """The outcome of a verification.

    Attributes
    ----------
    store : Path
    obs : Path or None
        The run directory it was compared with.
    n_frames : int
        Frames that the store says it has.
    n_bytes : int
        Bytes of its frame files (with ``obs``), or of its chunks on disk (without).
    seconds : float
        Wall time.
    difference : Difference or None
        The first one found.
    closed : bool
        Whether the store says that no more frames will come.
    checksums : bool
        Whether every chunk carries a crc32c.
    """

    store: Path
    obs: Path | None
    n_frames: int
    n_bytes: int
    seconds: float
    difference: Difference | None
    closed: bool
    checksums: bool

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return self.difference is None

    def __str__(self) -> str:
        """Say the outcome on one line."""
        if self.difference:
            is_damage = bool(self.difference.damage)
            return str(self.difference) if is_damage else f"difference: {self.difference}"
        found = "every pixel, header field, time and quality equals the files'"
        if self.obs is None:
            found = "every chunk is there and its checksum right"
            if not self.checksums:
                found = "every chunk is there and can be read (the store has no checksums)"
        state = "" if self.closed else "; the store is still open"
        return (
            f"ok: {count(self.n_frames, 'frame')}, {self.n_bytes / 1e6:.1f} MB, "
            f"{self.seconds:.1f} s, {found}{state}"
        )

    def as_json(self) -> dict[str, Any]:
        """Return the report as what ``json.dumps`` takes."""
        return {
            **asdict(self),
            "ok": self.ok,
            "store": str(self.store),
            "obs": None if self.obs is None else str(self.obs),
        }
