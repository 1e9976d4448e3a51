"""The page's own files, read once from the package."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/chart.js": ("chart.js", "text/javascript; charset=utf-8"),
    "/panels.js": ("panels.js", "text/javascript; charset=utf-8"),
    "/run_table.js": ("run_table.js", "text/javascript; charset=utf-8"),
    "/format.js": ("format.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


@dataclass(frozen=True)
class PageFile:
    """A file of the page, as it is sent."""

    content: bytes
    kind: str


def load_files() -> dict[str, PageFile]:
    """Read the page's files, by their path in the URL."""
    folder = resources.files("panoseti_zarr.daemon.web") / "static"
    loaded = {}
    for path, (name, kind) in _FILES.items():
        loaded[path] = PageFile((folder / name).read_bytes(), kind)
    return loaded
