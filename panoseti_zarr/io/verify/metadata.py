"""Checks of an L0 store's root attributes. Part of `verify`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from panoseti_zarr.errors import InputError, from_os_error, is_missing
from panoseti_zarr.io.verify.report import Difference, Value
from panoseti_zarr.model import PRODUCTS

ROOT = "zarr.json"
FORMAT = "panoseti-zarr-l0"
FORMAT_VERSION = 1

_USER_IN_URL = re.compile(r"://[^/?#\s@]*@")
SOURCE_COUNTS = ("size_bytes", "n_frames", "first_frame", "trailing_bytes")

Rule = tuple[Callable[[Any], bool], str]
"""What a value must satisfy, and the same in words."""


def read_root(store: Path) -> tuple[bytes, dict[str, Any]]:
    """Read a store's root ``zarr.json``.

    Returns
    -------
    content : bytes
        As it stands, to see later whether someone wrote to the store.
    document : dict

    Raises
    ------
    InputError
        When there is no L0 store.
    TransientIOError
        When it cannot be read at present.
    """
    try:
        content = (store / ROOT).read_bytes()
    except OSError as error:
        if not is_missing(error):
            raise from_os_error(error, "cannot read the L0 store") from error
        raise InputError(str(from_os_error(error, "no L0 store here"))) from error
    try:
        document = json.loads(content)
        is_l0 = document["attributes"]["format"] == FORMAT
    except (ValueError, KeyError, TypeError):
        is_l0 = False
    if not is_l0:
        raise InputError(f"not an L0 store: its {ROOT} does not say {FORMAT}", path=str(store))
    version = document["attributes"].get("format_version")
    if version not in (None, FORMAT_VERSION):
        raise InputError(f"L0 format version {version} is not known here", path=str(store))
    return content, document


def root_differences(document: dict[str, Any]) -> Iterator[Difference]:
    """Find attributes that are absent, or are not what their name says."""
    if (document.get("zarr_format"), document.get("node_type")) != (3, "group"):
        yield _entry("node", document.get("node_type"), "a Zarr v3 group")
    attributes = document["attributes"]
    for name, (is_right, expected) in _attribute_rules(attributes).items():
        if name not in attributes:
            yield _entry(f"attributes/{name}", "no such attribute", expected)
        elif not is_right(attributes[name]):
            yield _entry(f"attributes/{name}", attributes[name], expected)
    yield from _run_name_differences(attributes)
    yield from _source_list_differences(attributes)
    for place, text in _strings("attributes/run_config", attributes["run_config"]):
        if _USER_IN_URL.search(text):
            yield _entry(place, "a URL with a user in it (not shown)", "a URL without")


def _attribute_rules(attributes: dict[str, Any]) -> dict[str, Rule]:
    """Return the rule of each root attribute."""
    product = PRODUCTS.get(str(attributes.get("product")))
    pixel_bytes = product.dtype.itemsize if product else 0
    text: Rule = (lambda v: isinstance(v, str) and v != "", "a text")
    text_or_null: Rule = (lambda v: v is None or isinstance(v, str), "a text, or null")
    count: Rule = (_is_count, "an integer from 0")
    mapping: Rule = (lambda v: isinstance(v, dict), "an object")
    return {
        "format": text,
        "format_version": count,
        "store_id": text,
        "commit": count,
        "n_frames": count,
        "closed": (lambda v: isinstance(v, bool), "true or false"),
        "run": text,
        "observatory": text_or_null,
        "run_start": text_or_null,
        "runtype": text_or_null,
        "product": (lambda _: product is not None, "a data product"),
        "module": count,
        "bytes_per_pixel": (lambda v: v in (None, pixel_bytes), f"{pixel_bytes}, or null"),
        "source_files": (_is_source_list, "a list of files"),
        "gaps": (_is_gap_list, "ascending seqnos"),
        "run_config": mapping,
        "writer": mapping,
    }


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_source_list(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, dict)
        and isinstance(entry.get("name"), str)
        and all(_is_count(entry.get(name)) for name in ("seqno", *SOURCE_COUNTS))
        and all(type(entry.get(name)) is int for name in ("mtime_ns", "ctime_ns"))
        for entry in value
    )


def _is_gap_list(value: object) -> bool:
    return (
        isinstance(value, list)
        and all(_is_count(seqno) for seqno in value)
        and value == sorted(set(value))
    )


def _run_name_differences(attributes: dict[str, Any]) -> Iterator[Difference]:
    """Compare the run's name with the attributes made from it."""
    parts: dict[str, str] = {}
    for part in attributes["run"].split("."):
        key, underscore, value = part.partition("_")
        if underscore:
            parts.setdefault(key, value)
    for name, key in (("observatory", "obs"), ("runtype", "runtype")):
        if attributes[name] != parts.get(key):
            yield _entry(f"attributes/{name}", attributes[name], parts.get(key))
    if attributes["run_start"] is not None:
        expected = re.sub("[^0-9]", "", parts.get("start", ""))
        if re.sub("[^0-9]", "", attributes["run_start"]) != expected:
            yield _entry("attributes/run_start", attributes["run_start"], parts.get("start"))


def _source_list_differences(attributes: dict[str, Any]) -> Iterator[Difference]:
    """Check that the files follow one another, and that their frames add up.

    While a store is open its last file may be committed in part.
    """
    n_frames, seqno = 0, -1
    for i, entry in enumerate(attributes["source_files"]):
        place = f"attributes/source_files[{i}]"
        if entry["seqno"] <= seqno:
            yield _entry(f"{place}/seqno", entry["seqno"], f"above {seqno}")
        if entry["first_frame"] != n_frames:
            yield _entry(f"{place}/first_frame", entry["first_frame"], n_frames)
        if entry["seqno"] in attributes["gaps"]:
            yield _entry("attributes/gaps", entry["seqno"], "seqnos that no file has")
        seqno = entry["seqno"]
        n_frames += entry["n_frames"]
    least = n_frames
    if not attributes["closed"]:
        least = max((entry["first_frame"] for entry in attributes["source_files"]), default=0)
    if not least <= attributes["n_frames"] <= n_frames:
        yield _entry(
            "attributes/n_frames", attributes["n_frames"], n_frames, "the sum over source_files"
        )


def _strings(place: str, value: object) -> Iterator[tuple[str, str]]:
    """Yield every text in a JSON value, keys too, with its place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield place, key
            yield from _strings(f"{place}/{key}", item)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _strings(f"{place}[{i}]", item)


def _entry(place: str, stored: object, expected: Value, note: str = "") -> Difference:
    return Difference(f"{ROOT} {place}", shown(stored), expected, note)


def shown(value: object) -> Value:
    """Return a JSON value for a `Difference`: as it is if it is plain, else as short text."""
    if value is None or isinstance(value, str | int | float):
        return value
    return json.dumps(value)[:200]
