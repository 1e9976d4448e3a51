"""The service's log: one line an event, JSON unless stdout is a terminal, never a secret.

structlog and the standard library's loggers (of Dask, watchdog and Python's warnings) come out
in the same form, and so do uncaught errors. Where stdout is the journal, each line
begins with its priority, ``<N>``, as sd-daemon(3) describes.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, WrappedLogger

from panoseti_zarr.core.redact import REMOVED, redact, redact_urls
from panoseti_zarr.errors import PanosetiZarrError, one_line

_PRIORITY = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
_OURS = "panoseti_zarr"

# What a library may say of how it connects: the word, and what follows it.
_SECRET = re.compile(
    r"""(?i)((?:passw(?:or)?d|passphrase|secret|token)["']?\s*[=:]\s*)("[^"]*"|'[^']*'|\S+)"""
)

_logged: weakref.WeakSet[Exception] = weakref.WeakSet()

# Names and lines of code, never the values of variables: those may be secret.
_tracebacks = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=20)
)


def configure(level: str, style: str) -> None:
    """Write everything that is logged to stdout, one line an event.

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
    _install_exception_hooks()
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


def failed(error: Exception) -> None:
    """Log a fatal error, once. Include the traceback only if it was unexpected."""
    if not structlog.is_configured():
        configure("info", "auto")
    if error not in _logged:
        _logged.add(error)
        is_declared = isinstance(error, PanosetiZarrError)
        get_logger().critical(
            "service.failed",
            reason=one_line(str(error)),
            exc_info=None if is_declared else error,
        )


def make_handler(style: str) -> logging.Handler:
    """Make the handler that writes lines to stdout."""
    stream = sys.stdout
    is_terminal = stream.isatty()
    is_console = style == "console" or (style == "auto" and is_terminal)
    render: Callable[[WrappedLogger, str, EventDict], Any]
    if is_console:
        render = console_renderer(colors=is_terminal)
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
            *([] if is_console else [_tracebacks]),
            _finish,
            render,
        ],
    )
    handler = logging.StreamHandler(stream)
    handler.addFilter(_should_log)
    handler.setFormatter(formatter)
    return handler


def console_renderer(*, colors: bool) -> structlog.dev.ConsoleRenderer:
    """Return what renders an event as a line for people to read."""
    return structlog.dev.ConsoleRenderer(
        colors=colors, exception_formatter=structlog.dev.plain_traceback
    )


def is_journal(stream: TextIO) -> bool:
    """Whether a stream is the journal's: ``JOURNAL_STREAM`` names its device and inode."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def adopt_loggers(*names: str) -> None:
    """Remove the handlers that libraries gave their loggers, so that ours write their lines."""
    for name in names:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


def _install_exception_hooks() -> None:
    """Log uncaught errors of threads, of the main thread and of destructors."""

    def crashed(task: str, error: BaseException | None) -> None:
        if not isinstance(error, KeyboardInterrupt | SystemExit):
            get_logger().error("task.crashed", task=task, exc_info=error)

    def of_thread(told: threading.ExceptHookArgs) -> None:
        crashed(told.thread.name if told.thread else "thread", told.exc_value)

    threading.excepthook = of_thread
    sys.excepthook = lambda _, error, __: crashed("main", error)
    sys.unraisablehook = lambda told: crashed(repr(told.object), told.exc_value)


def _finish(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Put the common keys first, and remove passwords."""
    common = {key: event.pop(key) for key in ("timestamp", "level", "event")}
    return redacted({**common, **event})


def redacted(line: dict[str, Any]) -> dict[str, Any]:
    """Return a line's keys without passwords, as they are written."""
    return {key: _without_secrets(value) for key, value in line.items()}


def _without_secrets(value: Any) -> Any:
    """Return a value of a line without passwords: of URLs, by the name of their key, in words."""
    if isinstance(value, str):
        return _SECRET.sub(rf"\g<1>{REMOVED}", redact_urls(value))
    if isinstance(value, list | tuple):
        return [_without_secrets(item) for item in value]
    if isinstance(value, dict):
        cleaned = redact(value)
        return {key: _without_secrets(item) for key, item in cleaned.items()}
    return value


def _should_log(record: logging.LogRecord) -> bool:
    """Whether a record is to be written: the service's own, or a library's warning."""
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
