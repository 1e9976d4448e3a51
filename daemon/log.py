"""The service's log: one line an event, JSON unless stdout is a terminal, never a secret.

structlog and the standard library's loggers (of Dask, watchdog and Python's warnings) come out
in the same form. Where stdout is the journal, each line begins with its priority, ``<N>``, as
sd-daemon(3) describes.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, WrappedLogger

from panoseti_zarr.core.credentials import without_user_info

_PRIORITY = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
_OURS = "panoseti_zarr"


def configure(level: str, style: str) -> None:
    """Let everything that logs come out on stdout, one line an event.

    Parameters
    ----------
    level : str
        ``debug``, ``info``, ``warning`` or ``error``.
    style : str
        ``json``, ``console``, or ``auto``: JSON unless stdout is a terminal.
    """
    logging.raiseExceptions = False
    logging.basicConfig(handlers=[make_handler(style)], level=logging.WARNING, force=True)
    set_level(level)
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def set_level(level: str) -> None:
    """Change the least level that is logged."""
    logging.getLogger(_OURS).setLevel(level.upper())


def get_logger() -> structlog.stdlib.BoundLogger:
    """Return the service's logger."""
    return cast(structlog.stdlib.BoundLogger, structlog.get_logger(_OURS))


def make_handler(style: str) -> logging.Handler:
    """Make the handler that writes lines to stdout."""
    stream = sys.stdout
    is_terminal = stream.isatty()
    is_console = style == "console" or (style == "auto" and is_terminal)
    render: Callable[[WrappedLogger, str, EventDict], Any]
    if is_console:
        render = structlog.dev.ConsoleRenderer(colors=is_terminal)
    else:
        render = structlog.processors.JSONRenderer()
    formatter = _Lines(
        with_priority=is_journal(stream),
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _of_a_library,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *([] if is_console else [structlog.processors.format_exc_info]),
            _finish,
            render,
        ],
    )
    handler = logging.StreamHandler(stream)
    handler.addFilter(_is_worth_telling)
    handler.setFormatter(formatter)
    return handler


def is_journal(stream: TextIO) -> bool:
    """Whether a stream is the journal's: ``JOURNAL_STREAM`` names its device and inode."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _finish(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Put what every line has first, and take passwords out."""
    common = {key: event.pop(key) for key in ("timestamp", "level", "event")}
    return {key: without_user_info(value) for key, value in {**common, **event}.items()}


def _is_worth_telling(record: logging.LogRecord) -> bool:
    """Whether a record is the service's own, or a library's warning: they set their own levels."""
    return record.name == _OURS or record.levelno >= logging.WARNING


def _of_a_library(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    event["message"] = event.pop("event")
    event["event"] = "library.logged"
    return event


class _Lines(structlog.stdlib.ProcessorFormatter):
    """Formats a record, with the journal's priority before it where that is wanted."""

    def __init__(self, *, with_priority: bool, **how: Any) -> None:
        super().__init__(**how)
        self._with_priority = with_priority

    def format(self, record: logging.LogRecord) -> str:
        """Give the line of a record."""
        line = super().format(record)
        if not self._with_priority:
            return line
        return f"<{_PRIORITY.get(record.levelname.lower(), 6)}>{line}"
