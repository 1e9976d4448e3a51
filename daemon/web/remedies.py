"""The remedy for each error of a stream: a sentence, and the command if there is one. Pure."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from panoseti_zarr.daemon.status.document import StreamInfo

_STANDARD_CONFIG = "/etc/panoseti-zarr/config.toml"
_RETRYING = frozenset({"retrying", "l1_retrying"})


@dataclass(frozen=True)
class Remedy:
    """Advice, and the command that carries it out; the command is empty if none is needed."""

    words: str
    command: str = ""


_CASES = (
    (
        "This file arrived after later files were committed, so it cannot be appended in order."
        " Rebuild the stores:",
        r"arrived after seqno",
        True,
    ),
    (
        "Restore the file, and the stream continues. Or rebuild the stores:",
        r"shrank from|was committed with other|frames when it was committed|committed, is gone",
        True,
    ),
    (
        "The store is damaged. Rebuild it from the frame files:",
        r"is damaged|not a whole L0 store|chunk is (missing|too short)|crc32c is wrong",
        True,
    ),
    (
        "The file is not PFF. Replace it, and the stream continues. To retry now:",
        r"no readable \w+ header",
        False,
    ),
    (
        "Remove one of the two files, and the stream continues. To retry now:",
        r"two files have seqno",
        False,
    ),
    ("The stream continues when the reason is gone. To retry now:", r"", False),
)
"""Sentence, pattern of the reason, and whether to rebuild; the first match counts."""

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
    >>> error = "a.pff arrived after seqno 3 was committed"
    >>> stream = StreamInfo(stream="dp_img16.module_1", state="quarantined", last_error=error)
    >>> find_remedy("obs 1.pffd", stream, None).command
    "panoseti-zarr retry --rebuild 'obs 1.pffd'"
    """
    reason = stream.last_error
    if not reason:
        return None
    if stream.state in _RETRYING:
        return Remedy("The service retries it.")
    if stream.state == "quarantined":
        for words, pattern, rebuild in _CASES:
            if re.search(pattern, reason):
                return Remedy(words, retry_command(run, config, rebuild=rebuild))
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
