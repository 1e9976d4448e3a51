"""The reference page of the configuration, generated from its models."""

from __future__ import annotations

import json
import textwrap
from typing import Any

from panoseti_zarr.config.models import own_keys, sections
from panoseti_zarr.config.types import Section

_HEAD = """\
# Configuration

Every key of `config.toml`, generated from the models that check it (`make generate`). A commented
example is `config.toml` at the top of the repository.

The file is the command's argument, else `$CONFIG_FILE`, else `./config.toml`, else (`serve`,
`status`, `retry`) `/etc/panoseti-zarr/config.toml`. Without a file every key has its default. An
unknown key is an error. Paths may start with `~`; relative ones are taken from the directory in
which the command was started.
"""

_WIDTH = 100


def describe_config() -> str:
    """Return ``docs/config.md``: a section for each of the file's, one entry a key, as Markdown."""
    return "\n".join([_HEAD, *(_section(name, model) for name, model in sections())])


def _section(name: str, model: type[Section]) -> str:
    subject = (model.__doc__ or "").partition("\n")[0].partition(": ")[2]
    lines = [f"## `[{name}]`", "", subject[:1].upper() + subject[1:], ""]
    properties = model.model_json_schema()["properties"]
    for key in own_keys(model):
        field = model.model_fields[key]
        head = f"- **`{key}`**: {_values(properties[key])}; default {_default(field.default)}."
        lines += wrap_markdown(head, "  ") + wrap_markdown(f"  {field.description}", "  ")
    return "\n".join([*lines, ""])


def wrap_markdown(text: str, indent: str) -> list[str]:
    """Wrap a paragraph of Markdown at the width of the documentation.

    Parameters
    ----------
    text : str
        With the indent of its first line.
    indent : str
        Of the lines after the first.
    """
    return textwrap.wrap(
        text, _WIDTH, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )


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
