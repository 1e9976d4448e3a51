"""Defects of simulated runs as text, as a command line gives them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from panoseti_zarr.errors import ConfigError
from panoseti_zarr.io.simulate.defects import (
    BrokenHeader,
    CutTail,
    Defect,
    MissingQuabo,
    MissingSeqno,
    OtherLayout,
    StubFile,
    UnlockedClock,
    ZeroFrames,
)
from panoseti_zarr.model import StreamKey

DEFECTS: dict[str, type[Defect]] = {
    "cut-tail": CutTail,
    "broken-header": BrokenHeader,
    "other-layout": OtherLayout,
    "missing-quabo": MissingQuabo,
    "zero-frames": ZeroFrames,
    "unlocked": UnlockedClock,
    "missing-seqno": MissingSeqno,
    "stub-file": StubFile,
}
"""Name of a defect, as `parse_defect` reads it, to its class."""

_DEFECT = re.compile(r"(?P<kind>[a-z-]+)(?:@(?P<target>[^:]*))?(?::(?P<rest>.*))?")


def parse_defect(text: str) -> Defect:
    """Read a defect as ``KIND[@PRODUCT.MODULE][:NAME=NUMBER,...]``.

    Raises
    ------
    ConfigError
        For an unknown kind or name, a value that is no number, or a number that is missing.

    Examples
    --------
    >>> parse_defect("missing-quabo@img16.3:quabo=1,start=10,stop=20").stop
    20
    """
    match = _DEFECT.fullmatch(text)
    kind = DEFECTS.get(match["kind"]) if match else None
    if match is None or kind is None:
        raise ConfigError(f"defect {text!r} is not one of {', '.join(DEFECTS)}")
    names = {f.name: f for f in dataclasses.fields(kind) if f.name not in {"stream", "text"}}
    numbers: dict[str, int] = {}
    for item in filter(None, (match["rest"] or "").split(",")):
        name, _, value = item.partition("=")
        if name not in names or not re.fullmatch(r"\d+", value):
            raise ConfigError(f"defect {text!r}: {item!r} is not {'=N or '.join(names)}=N")
        numbers[name] = int(value)
    for name, field in names.items():
        if field.default is dataclasses.MISSING and name not in numbers:
            raise ConfigError(f"defect {text!r} needs {name}=N")
    stream = None if match["target"] is None else _parse_target(text, match["target"])
    make: Callable[..., Defect] = kind
    return make(stream=stream, **numbers)


def _parse_target(text: str, target: str) -> StreamKey:
    match = re.fullmatch(r"(\w+)\.(\d+)", target)
    if match is None:
        raise ConfigError(f"defect {text!r}: {target!r} is not PRODUCT.MODULE, such as img16.3")
    return StreamKey(match[1], int(match[2]))
