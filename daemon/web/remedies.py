"""What mends a stream: words and the command, by the reason that the service gives. Pure."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Any

_STANDARD_CONFIG = "/etc/panoseti-zarr/config.toml"
_RETRYING = frozenset({"retrying", "l1_retrying"})


@dataclass(frozen=True)
class Remedy:
    """What to do, and the command that does it; empty where none is needed."""

    words: str
    command: str = ""


_CASES = (
    (
        "A file came late, and its frames would be misplaced at the end. Make the stores anew:",
        r"arrived after seqno",
        True,
    ),
    (
        "Restore the file, and the stream goes on by itself; or make the stores anew:",
        r"shrank from|was committed with other|frames when it was committed|committed, is gone",
        True,
    ),
    (
        "The store is damaged. Make the stores anew from the frame files:",
        r"is damaged|not a whole L0 store|chunk is (missing|too short)|crc32c is wrong",
        True,
    ),
    (
        "The file is not PFF. Put the right one there, and it goes on by itself; or at once:",
        r"no readable \w+ header",
        False,
    ),
    (
        "Leave one of the two files there, and the stream goes on by itself; or at once:",
        r"two files have seqno",
        False,
    ),
    ("When the reason is gone the stream goes on by itself; or at once:", r"", False),
)
"""What to do, for which reasons, and whether stores are made anew; the first that fits counts."""

_DIFFERS = "Nothing was altered. Find out which is right, the store or the files; compare again:"


def find_remedy(run: str, stream: dict[str, Any], config: str | None) -> Remedy | None:
    """Say what mends a stream, as the table in docs/operate.md does.

    Parameters
    ----------
    run : str
        Its name.
    stream : dict
        Of the status document.
    config : str or None
        The configuration file that the service uses.

    Returns
    -------
    Remedy or None
        None where nothing is wrong.

    Examples
    --------
    >>> stream = {"state": "quarantined", "last_error": "a.pff arrived after seqno 3 was committed"}
    >>> find_remedy("obs 1.pffd", stream, None).command
    "panoseti-zarr retry --rebuild 'obs 1.pffd'"
    """
    reason = stream.get("last_error")
    if not reason:
        return None
    if stream["state"] in _RETRYING:
        return Remedy("It is tried again by itself.")
    if stream["state"] == "quarantined":
        for words, pattern, rebuild in _CASES:
            if re.search(pattern, reason):
                return Remedy(words, retry_command(run, config, rebuild=rebuild))
    is_unlike = stream.get("verify") == "failed"
    return Remedy(_DIFFERS, retry_command(run, config)) if is_unlike else None


def retry_command(run: str, config: str | None, *, rebuild: bool = False) -> str:
    """Return the command that has a run tried again, quoted for a shell.

    With ``sudo`` for the service of a machine, whose state directory is not the user's.
    """
    words = ["sudo"] if config == _STANDARD_CONFIG else []
    words += ["panoseti-zarr", "retry"]
    if config not in (None, _STANDARD_CONFIG):
        words += ["--config", str(config)]
    words += ["--rebuild"] if rebuild else []
    words += ["--"] if run.startswith("-") else []
    return shlex.join([*words, run])
