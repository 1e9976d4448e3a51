"""Writes the parts of the documentation that are made from the code: ``make generate``.

``config.md`` whole; of other pages what is between ``<!-- generated: NAME -->`` and
``<!-- end -->``. A test checks that the pages are up to date.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from panoseti_zarr.config import describe_config
from panoseti_zarr.daemon.report.log_events import describe_events
from panoseti_zarr.daemon.status.document import describe_keys, json_schema

DOCS = Path(__file__).parent


def pages() -> dict[Path, str]:
    """Return every generated page, by its path, as it should be."""
    logs = (DOCS / "logs.md").read_text()
    for name, lines in (("events", describe_events()), ("status", describe_keys())):
        logs = _fill(logs, name, lines)
    schema = json.dumps(json_schema(), indent=2)
    return {
        DOCS / "config.md": describe_config(),
        DOCS / "logs.md": _fill(
            _fill(logs, "events", describe_events()), "status", describe_keys()
        ),
        DOCS / "status.schema.json": f"{schema}\n",
    }


def _fill(page: str, name: str, lines: Iterable[str]) -> str:
    """Return a page with a part replaced."""
    begin, end = f"<!-- generated: {name} -->", "<!-- end -->"
    part = "\n".join([begin, "", *lines, end])
    pattern = f"{re.escape(begin)}.*?{re.escape(end)}"
    return re.sub(pattern, lambda _: part, page, count=1, flags=re.DOTALL)


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
