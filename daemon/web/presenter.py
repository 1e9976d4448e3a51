"""The presentation of a status document on the page. Pure."""

from __future__ import annotations

from typing import Any

from panoseti_zarr.core.redact import redact_urls
from panoseti_zarr.daemon.status.document import RunInfo, StatusDocument, StreamInfo
from panoseti_zarr.daemon.status.summary import summarize
from panoseti_zarr.daemon.web.remedies import find_remedy

RunPictures = dict[str, tuple[tuple[str, int], ...]]
"""Of each stream of a run its quick-look images: file name and a number that changes with it."""

_UNSHOWN_KEYS = {"error_code", "verified_at", "verified_store_id", "verified_commit"}


def present_head(document: StatusDocument, dashboard: str | None) -> dict[str, Any]:
    """Return what stands above the runs: the service, its queue, disks and roots.

    Parameters
    ----------
    document : StatusDocument
    dashboard : str or None
        Where Dask's dashboard is.
    """
    states = [run.state for run in document.runs]
    parts = {"service", "queue", "disks", "roots", "totals"}
    head = document.model_dump(mode="json", include=parts)
    head["words"] = summarize(document)
    head["states"] = {state: states.count(state) for state in sorted(set(states))}
    head["dashboard"] = dashboard
    clean: dict[str, Any] = redact_urls(head)
    return clean


def present_run(run: RunInfo, pictures: RunPictures, config: str | None) -> dict[str, Any]:
    """Return a run as the page shows it; what is null or nothing is left out.

    Parameters
    ----------
    run : RunInfo
    pictures : dict
    config : str or None
        The configuration file that the service uses.
    """
    values = run.model_dump(mode="json", exclude={"streams"})
    shown = {key: value for key, value in values.items() if value}
    if run.streams is not None:
        shown["streams"] = [_present_stream(run.name, s, config) for s in run.streams]
    if pictures:
        shown["pictures"] = pictures
    clean: dict[str, Any] = redact_urls(shown)
    return clean


def _present_stream(run: str, stream: StreamInfo, config: str | None) -> dict[str, Any]:
    values = stream.model_dump(mode="json", exclude=_UNSHOWN_KEYS)
    shown = {key: value for key, value in values.items() if value not in (None, "")}
    if remedy := find_remedy(run, stream, config):
        shown["remedy"] = remedy.words
        if remedy.command:
            shown["command"] = remedy.command
    return shown
