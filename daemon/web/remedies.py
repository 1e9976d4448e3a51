"""The remedy for each error of a stream: a sentence, and the command if there is one. Pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from panoseti_zarr.daemon.status.document import StreamInfo
from panoseti_zarr.errors import ErrorCode

_STANDARD_CONFIG = "/etc/panoseti-zarr/config.toml"
_RETRYING = frozenset({"retrying", "l1_retrying"})


@dataclass(frozen=True)
class Remedy:
    """Advice, and the command that carries it out; the command is empty if none is needed."""

    words: str
    command: str = ""


_ADVICE = {
    ErrorCode.LATE_FILE: "This file arrived after later files were committed, so it cannot be"
    " appended in order. Rebuild the stores:",
    ErrorCode.SOURCE_CHANGED: "Restore the file, and the stream continues. Or rebuild the stores:",
    ErrorCode.STORE_DAMAGED: "The store is damaged. Rebuild it from the frame files:",
    ErrorCode.NOT_PFF: "The file is not PFF. Replace it, and the stream continues. To retry now:",
    ErrorCode.DUPLICATE_SEQNO: "Remove one of the two files, and the stream continues. To retry"
    " now:",
    ErrorCode.OTHER: "The stream continues when the reason is gone. To retry now:",
}

_REBUILT = frozenset({ErrorCode.LATE_FILE, ErrorCode.SOURCE_CHANGED, ErrorCode.STORE_DAMAGED})
"""What a rebuild of the stores mends."""

_DIFFERS = "Nothing was changed. Find out whether store or files are right. To compare again:"


def find_remedy(run: str, stream: StreamInfo, config: str | None) -> Remedy | None:
    """Return the remedy for a stream, as docs/operate.md describes it.

    Parameters
    ----------
    run : str
        Its name.
    stream : StreamInfo
    config : str or None
        The configuration file that the service uses.

    Returns
    -------
    Remedy or None
        None if nothing is wrong.

    Examples
    --------
    >>> stream = StreamInfo(
    ...     stream="dp_img16.module_1",
    ...     state="quarantined",
    ...     last_error="a.pff arrived after seqno 3 was committed",
    ...     error_code="late_file",
    ... )
    >>> find_remedy("obs 1.pffd", stream, None).command
    "panoseti-zarr retry --rebuild 'obs 1.pffd'"
    """
    if not stream.last_error:
        return None
    if stream.state in _RETRYING:
        return Remedy("The service retries it.")
    if stream.state == "quarantined":
        rebuild = stream.error_code in _REBUILT
        return Remedy(_ADVICE[stream.error_code], retry_command(run, config, rebuild=rebuild))
    is_unlike = stream.verify == "failed"
    return Remedy(_DIFFERS, retry_command(run, config)) if is_unlike else None


def retry_command(run: str, config: str | None, *, rebuild: bool = False) -> str:
    """Return the command that retries a run, quoted for a shell.

    It has ``sudo`` for an installed service, whose state directory belongs to another user.
    """
    words = ["sudo"] if config == _STANDARD_CONFIG else []
    words += ["panoseti-zarr", "retry"]
    if config not in (None, _STANDARD_CONFIG):
        words += ["--config", str(config)]
    words += ["--rebuild"] if rebuild else []
    words += ["--"] if run.startswith("-") else []
    return shlex.join([*words, run])
