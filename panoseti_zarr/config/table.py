"""The reference page of the configuration, made from its models."""

from __future__ import annotations

import json
from typing import Any

from panoseti_zarr.config.models import own_keys, sections
from panoseti_zarr.config.types import Section

_HEAD = """\
# Configuration

Every key of `config.toml`, made from the models that check it:
`python -c "from panoseti_zarr.config import config_table; print(config_table(), end='')"`.
A commented example is `config.toml` at the top of the repository.

The file is the command's argument, else `$CONFIG_FILE`, else `./config.toml`, else (`serve`,
`status`, `retry`) `/etc/panoseti-zarr/config.toml`, otherwise every key has its
default. An unknown key is an error. Paths may start with `~`; relative ones are taken from the
directory in which the command was started.
"""


def config_table() -> str:
    """Return ``docs/config.md``: a table a section, one row a key, as Markdown."""
    return "\n".join([_HEAD, *(_section(name, model) for name, model in sections())])


def _section(name: str, model: type[Section]) -> str:
    subject = (model.__doc__ or "").partition("\n")[0].partition(": ")[2]
    lines = [f"## `[{name}]`", "", subject[:1].upper() + subject[1:], ""]
    lines += ["| key | values | default | meaning |", "| --- | --- | --- | --- |"]
    properties = model.model_json_schema()["properties"]
    for key in own_keys(model):
        field = model.model_fields[key]
        cells = (f"`{key}`", _values(properties[key]), _default(field.default), field.description)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, ""])


def _values(schema: dict[str, Any]) -> str:
    """Put a JSON schema's type, choices and limits into words."""
    schema = next((s for s in schema.get("anyOf", ()) if s["type"] != "null"), schema)
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(choice)}`" for choice in schema["enum"])
    names = {
        "path": "path",
        "date-time": "date",
        "integer": "whole number",
        "number": "number",
        "boolean": "`true`, `false`",
        "string": "text",
    }
    if schema["type"] == "array":
        return f"list of {_values(schema['items'])}s"
    words = names[schema.get("format", schema["type"])]
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    if above is not None:
        words += f" above {above:,.15g}"
    elif low is not None:
        words += f" from {low:,.15g}"
    return words + (f" to {schema['maximum']:,.15g}" if "maximum" in schema else "")


def _default(value: object) -> str:
    if value is None or value == ():
        return "unset"
    return f"`{json.dumps(value)}`"
