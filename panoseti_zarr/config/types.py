"""The checked types of the configuration's models.

A validator here raises ``ValueError`` with a phrase that goes after the key's name.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
)

Codec = Literal["blosc-lz4", "zstd", "gzip", "none"]
"""How the chunks of a store are compressed."""

_MAX_LEVEL: dict[Codec, int] = {"blosc-lz4": 9, "zstd": 22, "gzip": 9, "none": 22}
_PREFIXES = ("", "K", "M", "G", "T", "P")
_BYTES_PER_UNIT = {
    **{f"{prefix}B": 1000**power for power, prefix in enumerate(_PREFIXES)},
    **{f"{prefix}IB": 1024**power for power, prefix in enumerate(_PREFIXES) if power},
}
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([KMGTP]?I?B)", re.IGNORECASE)
_MIN_WORKER_BYTES = 100_000_000
_WORD = re.compile(r"[^\s\-@/][^\s@/]*")
_ADDRESS = re.compile(r"(?:[a-z]+://)?(?:\[[0-9A-Fa-f:.]+\]|[^\s/:@\[\]]+)(?::[0-9]{1,5})?")


class Section(BaseModel):
    """What the models of all sections share: frozen, exact types, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def live_field(**given: Any) -> Any:
    """Return a field, as `pydantic.Field` does, whose key applies at a reload."""
    return Field(json_schema_extra={"live": True}, **given)


def parse_size(text: str) -> int:
    """Return a memory size such as ``"4GB"`` (10^9) or ``"4GiB"`` (2^30) in bytes.

    Raises
    ------
    ValueError
        When ``text`` is no such size.

    Examples
    --------
    >>> parse_size("1.5 GB"), parse_size("2KiB")
    (1500000000, 2048)
    """
    match = _SIZE.fullmatch(text)
    unit = match[2].upper() if match else ""
    if match is None or unit not in _BYTES_PER_UNIT:
        raise ValueError('must be a size such as "4GB" or "512MiB"')
    return int(Decimal(match[1]) * _BYTES_PER_UNIT[unit])


def _worker_memory(text: str) -> str:
    if parse_size(text) < _MIN_WORKER_BYTES:
        raise ValueError("must be at least 100MB: Dask would stop the worker over and over")
    return text


def _absolute(value: object) -> Path | None:
    """Make a path absolute, so that it means the same in every process and on every worker."""
    if value is None:
        return None
    if not isinstance(value, str | Path):
        raise ValueError("must be a path in quotes")
    text = str(value)
    if not text or "\0" in text:
        raise ValueError("must be a path: it is empty or has a null character")
    try:
        return Path(text).expanduser().absolute()
    except (RuntimeError, OSError) as error:
        raise ValueError(f"cannot be made an absolute path: {error}") from None


def _absolute_or_empty(value: object) -> Path | str | None:
    return "" if value == "" else _absolute(value)


def _listed(value: object) -> tuple[object, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError('must be a list, ["...", "..."]')
    return tuple(value)


def _hosts(value: object) -> tuple[object, ...]:
    if not (hosts := _listed(value)):
        raise ValueError("must not be empty")
    return hosts


def _one_or_several(value: object) -> tuple[object, ...]:
    return (value,) if isinstance(value, str | Path) else _listed(value)


def _utc(value: object) -> datetime | None:
    """Take a TOML date or date and time; what names no zone is UTC, as run names are."""
    if value is None:
        return None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        raise ValueError("must be a date without quotes, 2025-08-01 or 2025-08-01T12:00:00Z")
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie in the years 1 to 9999 of UTC") from None


def _word(text: str) -> str:
    if not _WORD.fullmatch(text) or not text.isprintable():
        raise ValueError("must be a plain name: no blank, no @, no /, no - at its start")
    return text


def _address(text: str) -> str:
    if not _ADDRESS.fullmatch(text) or not text.isprintable():
        raise ValueError('must be an address such as "tls://10.0.1.2:8786"')
    return text


def _marker(text: str) -> str:
    if not text or text in {".", ".."} or "/" in text or not text.isprintable():
        raise ValueError("must be the name of a file in the run directory")
    if text == "recording_ended":
        raise ValueError("must not be recording_ended: it is written before the files are copied")
    return text


def _pattern(text: str) -> str:
    parts = text.split("/")
    if not all(parts) or {".", ".."} & {*parts} or not text.isprintable():
        raise ValueError('must be a relative path such as "module_*/{run}"')
    return text


def _level_of_codec(level: int, info: ValidationInfo) -> int:
    codec = info.data.get("codec")
    if codec is not None and level > _MAX_LEVEL[codec]:
        raise ValueError(f'must be at most {_MAX_LEVEL[codec]} with codec = "{codec}"')
    return level


AbsolutePath = Annotated[Path, BeforeValidator(_absolute)]
OptionalPath = Annotated[Path | None, BeforeValidator(_absolute)]
PathOrEmpty = Annotated[Path | Literal[""] | None, BeforeValidator(_absolute_or_empty)]
Paths = Annotated[tuple[AbsolutePath, ...], BeforeValidator(_one_or_several)]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(ge=0, le=365 * 86400)]
Interval = Annotated[float, Field(ge=0.01, le=365 * 86400)]
Count = Annotated[int, Field(ge=1, le=1024)]
Memory = Annotated[str, AfterValidator(_worker_memory)]
Word = Annotated[str, AfterValidator(_word)]
Hosts = Annotated[tuple[Word, ...], BeforeValidator(_hosts)]
Address = Annotated[str, AfterValidator(_address)]
Markers = Annotated[tuple[Annotated[str, AfterValidator(_marker)], ...], BeforeValidator(_listed)]
Patterns = Annotated[tuple[Annotated[str, AfterValidator(_pattern)], ...], BeforeValidator(_listed)]
Level = Annotated[int, Field(ge=0, le=22), AfterValidator(_level_of_codec)]
UtcTime = Annotated[datetime | None, BeforeValidator(_utc)]
