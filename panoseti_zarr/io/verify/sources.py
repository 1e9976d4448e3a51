"""The frame files of a run, by their names and sizes, compared with a store. Part of `verify`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from panoseti_zarr.core.text import count
from panoseti_zarr.errors import InputError, from_os_error, is_missing
from panoseti_zarr.io.verify.layout import find_layout
from panoseti_zarr.io.verify.metadata import ROOT
from panoseti_zarr.io.verify.nodes import Source, StoreDescription
from panoseti_zarr.io.verify.report import Difference
from panoseti_zarr.model import FrameLayout, Product

_DIGITS = re.compile("[0-9]+")


@dataclass(frozen=True)
class ObservedFile:
    """A frame file as it is now.

    Attributes
    ----------
    path : Path
    seqno : int
    size_bytes : int
    layout : FrameLayout or None
        None where no header can be read.
    """

    path: Path
    seqno: int
    size_bytes: int
    layout: FrameLayout | None

    @property
    def n_frames(self) -> int:
        """Whole frames."""
        return self.size_bytes // self.layout.frame_bytes if self.layout else 0

    @property
    def trailing_bytes(self) -> int:
        """Bytes after the last whole frame."""
        return self.size_bytes - (self.n_frames * self.layout.frame_bytes if self.layout else 0)


def seqno_of(name: str, product: str, module: int) -> int | None:
    """Return the seqno in a file's name, if it is a frame file of this stream.

    Examples
    --------
    >>> seqno_of("start_2024-07-25T04:34:06Z.dp_img16.bpp_2.module_1.seqno_7.pff", "img16", 1)
    7
    >>> seqno_of("hk.pff", "img16", 1) is None
    True
    """
    if name.startswith(".") or not name.endswith(".pff"):
        return None
    parts: dict[str, str] = {}
    for part in name.split("."):
        key, underscore, value = part.partition("_")
        if underscore:
            parts.setdefault(key, value)
    numbers = [parts.get("module", ""), parts.get("seqno", "")]
    if parts.get("dp") != product or not all(_DIGITS.fullmatch(number) for number in numbers):
        return None
    return int(numbers[1]) if int(numbers[0]) == module else None


def observe_files(
    obs: Path, description: StoreDescription, beside: Sequence[Path] = ()
) -> dict[str, ObservedFile]:
    """Measure a stream's frame files in a run directory, empty ones too.

    Parameters
    ----------
    obs : Path
    description : StoreDescription
        Names the stream.
    beside : sequence of Path
        Other directories of the run; of two files of one name the longer counts, that of the run
        directory where they are alike.

    Returns
    -------
    dict of str to ObservedFile
        By name, in the order of seqnos.

    Raises
    ------
    InputError
        When the directory is gone.
    TransientIOError
        When it, or a file, cannot be read.
    """
    found: dict[str, ObservedFile] = {}
    for directory in (obs, *beside):
        try:
            names = os.listdir(directory)
        except OSError as error:
            if not is_missing(error):
                raise from_os_error(error, "cannot read the run") from error
            path = str(directory)
            raise InputError(f"cannot read the run: {error.strerror}", path=path) from error
        for name in names:
            seqno = seqno_of(name, description.product.name, description.module)
            if seqno is not None and (directory / name).is_file():
                file = _observe(directory / name, seqno, description.product)
                if name not in found or file.size_bytes > found[name].size_bytes:
                    found[name] = file
    return dict(sorted(found.items(), key=lambda item: (item[1].seqno, item[0])))


def _observe(path: Path, seqno: int, product: Product) -> ObservedFile:
    with open_file(path) as fd:
        size_bytes = os.fstat(fd).st_size
        return ObservedFile(path, seqno, size_bytes, find_layout(fd, size_bytes, product))


@contextmanager
def open_file(path: Path) -> Iterator[int]:
    """Open a frame file for reading, and turn what the system says into declared errors."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)
    except OSError as error:
        raise from_os_error(error, f"reading {path.name}") from error


def source_differences(
    observed: Mapping[str, ObservedFile], description: StoreDescription
) -> Iterator[Difference]:
    """Compare ``source_files`` and ``gaps`` with the files that are there.

    Times of files are not compared: the same bytes with a new mtime are no change.
    """
    for i, source in enumerate(description.sources):
        file = observed.get(source.name)
        if file is None:
            yield Difference("source_files", source.name, "no such file in the run")
            continue
        pairs = (
            ("seqno", source.seqno, file.seqno),
            ("size_bytes", source.size_bytes, file.size_bytes),
            ("n_frames", source.n_frames, file.n_frames),
            ("trailing_bytes", source.trailing_bytes, file.trailing_bytes),
        )
        for name, stored, expected in pairs:
            if stored != expected:
                place = f"{ROOT} attributes/source_files[{i}]/{name}"
                note = "" if description.closed else "the store is still open"
                yield Difference(place, stored, expected, note, file=source.name)
    yield from _unknown_files(observed, description)
    yield from _gap_differences(observed, description)


def _unknown_files(
    observed: Mapping[str, ObservedFile], description: StoreDescription
) -> Iterator[Difference]:
    known = {source.name for source in description.sources}
    for name, file in observed.items():
        if file.size_bytes > 0 and name not in known:
            note = f"of the stream, {count(file.n_frames, 'frame')} not in the store"
            yield Difference("source_files", None, name, note, file=name)


def _gap_differences(
    observed: Mapping[str, ObservedFile], description: StoreDescription
) -> Iterator[Difference]:
    """Check that ``gaps`` names each seqno below the last one that no file has, and no other.

    An empty file may have come or gone since the commit, so where there is one both are right.
    """
    held = {source.seqno for source in description.sources}
    seen = {file.seqno for file in observed.values()}
    missing = set(range(max(held, default=0))) - seen
    for seqno in sorted(missing - set(description.gaps)):
        yield Difference(f"{ROOT} attributes/gaps", "not there", seqno, "no file has this seqno")
    for seqno in sorted(set(description.gaps) - set(range(max(seen | held, default=0)))):
        yield Difference(f"{ROOT} attributes/gaps", seqno, "not there", "above the last file's")


def sources_in(
    sources: tuple[Source, ...], start: int, stop: int
) -> Iterator[tuple[Source, int, int]]:
    """Yield the files that hold frames ``start`` to ``stop`` of the store, and which of those."""
    for source in sources:
        first = max(start, source.first_frame)
        last = min(stop, source.first_frame + source.n_frames)
        if first < last:
            yield source, first, last
