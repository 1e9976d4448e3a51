"""What the page shows of a status document. Pure."""

from __future__ import annotations

from typing import Any

from panoseti_zarr.core.redact import redact_urls
from panoseti_zarr.daemon.status.summary import summarize
from panoseti_zarr.daemon.web.remedies import find_remedy

RunPictures = dict[str, tuple[tuple[str, int], ...]]
"""Of each stream of a run its quick-look images: file name and a number that changes with it."""

_STREAM_KEYS = (
    "stream",
    "state",
    "n_frames",
    "n_bytes",
    "n_behind_bytes",
    "lag_s",
    "last_error",
    "retry_at",
    "verify",
)


def present_head(document: dict[str, Any], dashboard: str | None) -> dict[str, Any]:
    """Return what stands above the runs: the service, its queue, disks and roots.

    Parameters
    ----------
    document : dict
        The result of `describe`.
    dashboard : str or None
        Where Dask's dashboard is.
    """
    states = [run["state"] for run in document["runs"]]
    head = {key: document[key] for key in ("service", "queue", "disks", "roots", "totals")}
    head["words"] = summarize(document)
    head["states"] = {state: states.count(state) for state in sorted(set(states))}
    head["dashboard"] = dashboard
    clean: dict[str, Any] = redact_urls(head)
    return clean


def present_run(run: dict[str, Any], pictures: RunPictures, config: str | None) -> dict[str, Any]:
    """Return a run as the page shows it; what is null or nothing is left out.

    Parameters
    ----------
    run : dict
        Of the status document.
    pictures : dict
    config : str or None
        The configuration file that the service uses.
    """
    shown = {key: value for key, value in run.items() if value and key != "streams"}
    if run["streams"] is not None:
        shown["streams"] = [_stream_of(run["name"], s, config) for s in run["streams"]]
    if pictures:
        shown["pictures"] = pictures
    clean: dict[str, Any] = redact_urls(shown)
    return clean


def _stream_of(run: str, stream: dict[str, Any], config: str | None) -> dict[str, Any]:
    shown = {key: stream[key] for key in _STREAM_KEYS if stream[key] not in (None, "")}
    if remedy := find_remedy(run, stream, config):
        shown["remedy"] = remedy.words
        if remedy.command:
            shown["command"] = remedy.command
    return shown
