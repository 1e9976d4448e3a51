"""Errors, grouped by what their handler has to do.

Every error has a ``code``, which says what an operator can do about it, and carries where it
happened (``path``, ``byte_offset``, ``frame_index``). It survives pickling, because cluster workers
send theirs back to the coordinator.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from enum import StrEnum
from typing import Any


class ErrorCode(StrEnum):
    """What is wrong with a stream, as far as it decides what to do. Codes are never renamed."""

    OTHER = ""
    LATE_FILE = "late_file"
    SOURCE_CHANGED = "source_changed"
    STORE_DAMAGED = "store_damaged"
    NOT_PFF = "not_pff"
    DUPLICATE_SEQNO = "duplicate_seqno"


class PanosetiZarrError(Exception):
    """Base of every declared error.

    Parameters
    ----------
    message : str
        One line: what went wrong, and what to do next where that is known.
    path : str, optional
        The file or store concerned.
    byte_offset : int, optional
        Offset in ``path``, bytes.
    frame_index : int, optional
        Frame concerned: its index in ``path``.
    """

    exit_code = 1
    code = ErrorCode.OTHER

    def __init__(
        self,
        message: str,
        *,
        path: str | None = None,
        byte_offset: int | None = None,
        frame_index: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.byte_offset = byte_offset
        self.frame_index = frame_index

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild from the message; the places come back through the state."""
        return (type(self), (self.message,), self.__dict__.copy())

    def __str__(self) -> str:
        """Say the message, then the places that are known, on one line."""
        places = [
            f"{label} {value}"
            for label, value in (
                ("file", self.path),
                ("frame", self.frame_index),
                ("byte", self.byte_offset),
            )
            if value is not None
        ]
        text = f"{self.message} ({', '.join(places)})" if places else self.message
        return one_line(text)


class InputError(PanosetiZarrError):
    """What the user named cannot be worked on (absent, unreadable, no frames): fail the command."""


class StoreReplacedError(InputError):
    """Another store took the place of the one that was opened: open it, and read again."""


class ConfigError(PanosetiZarrError):
    """The configuration or a setting is wrong: stop the start with exit code 2."""

    exit_code = 2


class CorruptDataError(PanosetiZarrError):
    """The data are not what they must be: quarantine the stream, go on with the others."""


class SourceChangedError(CorruptDataError):
    """A source file changed, shrank or vanished after it was planned or committed: quarantine."""

    code = ErrorCode.SOURCE_CHANGED


class LateFileError(SourceChangedError):
    """A source file arrived after later ones were committed: it cannot be appended in order."""

    code = ErrorCode.LATE_FILE


class StoreDamagedError(CorruptDataError):
    """A store is not whole, or its bytes are not what was written: rebuild it."""

    code = ErrorCode.STORE_DAMAGED


class NotPffError(CorruptDataError):
    """A file has no readable header: replace it."""

    code = ErrorCode.NOT_PFF


class DuplicateSeqnoError(CorruptDataError):
    """Two files of a stream have the same seqno: remove one."""

    code = ErrorCode.DUPLICATE_SEQNO


class TransientIOError(PanosetiZarrError):
    """A transient failure of file system or cluster: keep what is committed, retry later."""


class StoreLockedError(TransientIOError):
    """Another process writes this store: its message names the holder; retry later."""


class StopRequestedError(PanosetiZarrError):
    """The work was asked to stop: what is committed stays, the rest is done after a restart."""


class InvariantError(PanosetiZarrError):
    """An internal invariant was violated: stop the service."""


_CORRUPTING_ERRNOS = frozenset({errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG})


def from_os_error(error: OSError, doing: str) -> PanosetiZarrError:
    """Turn an ``OSError`` into the declared error that its handler needs.

    Parameters
    ----------
    error : OSError
        What the system said.
    doing : str
        What was being done, as a phrase (``"writing chunk 3"``).

    Returns
    -------
    PanosetiZarrError
        `CorruptDataError` where the name can never work, else `TransientIOError`.
    """
    path = error.filename if isinstance(error.filename, str) else None
    text = f"{doing}: {error.strerror or error}"
    if error.errno in _CORRUPTING_ERRNOS:
        return CorruptDataError(text, path=path)
    return TransientIOError(text, path=path)


def is_missing(error: OSError) -> bool:
    """Whether what was to be read is not there, or no file; else it cannot be read at present."""
    return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)


def one_line(text: str) -> str:
    r"""Return ``text`` with every control character escaped, so that it stays one log line.

    Examples
    --------
    >>> one_line("a\nb")
    'a\\nb'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


@contextlib.contextmanager
def declared_errors(doing: str) -> Iterator[None]:
    """Turn what the system raises while stores are read and written into the declared error.

    Parameters
    ----------
    doing : str
        What is being done; the message says it.

    Raises
    ------
    TransientIOError
        The operating system failed a call (full disk, I/O error).
    """
    try:
        yield
    except OSError as error:
        raise TransientIOError(f"{doing}: {error.strerror or error}") from None
