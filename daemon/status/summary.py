"""The service's state in one line for an operator: systemd's ``STATUS=`` and the page. Pure."""

from __future__ import annotations

from panoseti_zarr.core.text import count, format_size
from panoseti_zarr.daemon.status.document import RunInfo, StatusDocument

_RUN_CHARS = 40
_BEFORE_L1 = frozenset({"waiting", "open", "following", "queued", "ingesting", "retrying"})
_BEFORE_DONE = frozenset({"l1_queued", "l1_running", "l1_retrying"})


def summarize(document: StatusDocument) -> str:
    """Return what a status document says, in a few words.

    Examples
    --------
    ``idle; 12 runs done``,
    ``recording obs_Lick.start_2024-07-25T04:34:06Z.runt…, 8 streams``, or
    ``ingesting obs_Lick.start_2024-07-25T04:34:06Z.runt… 3 of 6 streams, 1.2 GB behind``.
    """
    service, queue, totals = document.service, document.queue, document.totals
    waiting = sum(run.state == "waiting" for run in document.runs)
    words: list[str] = [service.phase] if service.phase != "running" else []
    words += [f"paused: {queue.paused}"] if queue.paused else []
    words += [f"waits for the cluster: {service.waits_for}"] if service.waits_for else []
    words += [f"{root.path} {root.paused}" for root in document.roots if root.paused]
    words += _recording(document) + _work(document)
    words += [f"{count(waiting, 'run')} waiting"] if waiting else []
    words += _count_phrase(totals.n_quarantined, "quarantined")
    words += _count_phrase(totals.n_verify_failed, "failed verification")
    return "; ".join(words)


def _recording(document: StatusDocument) -> list[str]:
    """Return which run is being recorded and followed."""
    runs = [run for run in document.runs if run.state == "recording"]
    if not runs:
        return []
    others = f" and {count(len(runs) - 1, 'run')} more" if len(runs) > 1 else ""
    n_streams = sum(run.n_streams for run in runs)
    return [f"recording {_short(runs[-1].name)}{others}, {count(n_streams, 'stream')}"]


def _work(document: StatusDocument) -> list[str]:
    """Return which run is being worked on, how far it is, and how much there is to do."""
    queue = document.queue
    working = [run for run in document.runs if run.state == "working"]
    busy = [run for run in working if _states(run) & {"ingesting", "l1_running"}]
    if not working and _recording(document):
        return []
    if not working:
        n_done = sum(run.state == "done" for run in document.runs)
        return ["idle", f"{count(n_done, 'run')} done"]
    if not busy:
        words = f"{count(queue.n_waiting, 'stream')} of {count(len(working), 'run')} queued"
    elif ingesting := [run for run in busy if "ingesting" in _states(run)]:
        words = f"ingesting {_progress(ingesting[0], _BEFORE_L1)}"
    else:
        words = f"making L1 of {_progress(busy[0], _BEFORE_L1 | _BEFORE_DONE)}"
    others = len(working) - 1 if busy else 0
    words += f" and {count(others, 'run')} more" if others else ""
    behind = queue.n_behind_bytes
    return [f"{words}, {format_size(behind)} behind" if behind else words]


def _progress(run: RunInfo, unfinished: frozenset[str]) -> str:
    states = [stream.state for stream in run.streams or ()]
    n_done = sum(state not in unfinished for state in states)
    return f"{_short(run.name)} {n_done} of {count(len(states), 'stream')}"


def _short(name: str) -> str:
    return name if len(name) <= _RUN_CHARS else f"{name[:_RUN_CHARS]}…"


def _states(run: RunInfo) -> set[str]:
    return {stream.state for stream in run.streams or ()}


def _count_phrase(number: int, what: str) -> list[str]:
    return [f"{count(number, 'stream')} {what}"] if number else []
