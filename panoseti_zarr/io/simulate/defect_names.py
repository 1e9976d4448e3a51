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

_DEFECT = re.compile(r"(?P<kind>[a-z-]+)(?:@(?P<product>\w+)\.(?P<module>\d+))?(?::(?P<rest>.*))?")


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
    stream = StreamKey(match["product"], int(match["module"])) if match["product"] else None
    make: Callable[..., Defect] = kind
    return make(stream=stream, **numbers)
