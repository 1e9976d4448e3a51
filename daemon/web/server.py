"""The status page's server: a thread with an event loop, fed by the service's loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.web import Application

from panoseti_zarr.daemon.log import redacted
from panoseti_zarr.daemon.status.document import StatusDocument
from panoseti_zarr.daemon.web.handlers import AssetHandler, EventStreamHandler, ImageHandler
from panoseti_zarr.daemon.web.hub import ClientHub

_Shown = tuple[StatusDocument, str | None]

LOOPBACK = "127.0.0.1"

_MAX_CONNECTIONS = 100
_IDLE_S = 30.0
_LOOK_S = 2.0
_CLOSE_S = 1.0

_UNTOLD = frozenset(
    {"stream.committed", "stream.queued", "run.progress", "l1.started", "web.started"}
)
"""Events that the page shows otherwise, or that say little."""


class StatusPage:
    """Serves the status page from a thread of its own until it is closed.

    Its methods take what happens from the service's loop, or any thread, and return at once.

    Parameters
    ----------
    port : int
        On loopback.
    pictures_dir : Path
        Where quick-look images are, if any.

    Raises
    ------
    OSError
        The port is taken.
    """

    def __init__(self, port: int, pictures_dir: Path) -> None:
        self._hall = ClientHub(pictures_dir)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        try:
            self._socket = _listen(port)
        except OSError:
            self._loop.close()
            raise
        # One place: of several that come while the page's thread is busy the last is enough.
        self._documents: deque[_Shown] = deque(maxlen=1)
        self._last: _Shown | None = None
        self._thread = threading.Thread(target=self._run, name="status page", daemon=True)
        self._thread.start()
        self._lines = _TakeLines(self)
        logging.getLogger().addHandler(self._lines)

    @property
    def is_watched(self) -> bool:
        """Whether the page has viewers: only then every change is shown at once."""
        return self._hall.is_watched

    def show(self, document: StatusDocument, dashboard: str | None) -> None:
        """Show a status document.

        Parameters
        ----------
        document : StatusDocument
        dashboard : str or None
            Where Dask's dashboard is.
        """
        self._documents.append((document, dashboard))
        self._post(self._show)

    def committed(self, n_bytes: int, now_unix_s: float) -> None:
        """Count bytes of a commit."""
        self._post(self._hall.board.add_bytes, n_bytes, int(now_unix_s // 60))

    def alive(self) -> None:
        """Note that the service's loop goes on."""
        self._hall.alive_s = time.monotonic()

    def said(self, line: dict[str, Any]) -> None:
        """Show a line of the log."""
        self._post(self._add_line, line)

    def close(self) -> None:
        """Give readers what is new, and end the server."""
        logging.getLogger().removeHandler(self._lines)
        self._post(self._stop.set)
        self._thread.join(timeout=5)

    def _post(self, function: Callable[..., Any], *values: Any) -> None:
        # After the end there are no clients.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *values)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        shared = {"hall": self._hall}
        application = Application(
            [
                (r"/events", EventStreamHandler, shared),
                (r"/quicklook/([^/]+)", ImageHandler, shared),
            ],
            default_handler_class=AssetHandler,
            default_handler_args=shared,
            compress_response=True,
            log_function=lambda _: None,
        )
        server = _Server(
            application,
            idle_connection_timeout=_IDLE_S,
            body_timeout=_IDLE_S,
            max_body_size=1024,
            max_header_size=16384,
        )
        server.add_socket(self._socket)
        looking = asyncio.create_task(self._look_for_pictures())
        await self._stop.wait()
        looking.cancel()
        server.stop()
        await self._hall.empty(_CLOSE_S)
        await server.close_all_connections()

    def _show(self) -> None:
        if self._documents:
            self._last = self._documents.pop()
            self._show_last()

    def _show_last(self) -> None:
        """Show the last document, with the pictures that there are now."""
        if self._last is not None:
            document, dashboard = self._last
            if self._hall.board.show(document, self._hall.pictures.by_run, dashboard):
                self._hall.wake()

    async def _look_for_pictures(self) -> None:
        while True:
            if self._hall.is_watched and await self._hall.look_for_pictures():
                self._show_last()
            await asyncio.sleep(_LOOK_S)

    def _add_line(self, line: dict[str, Any]) -> None:
        self._hall.board.add_line(line)
        self._hall.wake()


def _listen(port: int) -> socket.socket:
    """Take the port, in the caller's thread: it shall hear that it is taken."""
    listening = socket.socket()
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((LOOPBACK, port))
        listening.listen()
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


class _Server(HTTPServer):
    """Takes this many connections at once, and no more: descriptors are the service's too."""

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Take a connection, or close it."""
        if len(self._connections) >= _MAX_CONNECTIONS:
            stream.close()
        else:
            super().handle_stream(stream, address)


class _TakeLines(logging.Handler):
    """Takes what is logged, but for what the page shows otherwise."""

    def __init__(self, page: StatusPage) -> None:
        super().__init__(logging.INFO)
        self._page = page

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a line over: the service's own is its event, a library's its message."""
        if isinstance(record.msg, dict):
            line = dict(record.msg)
        elif record.levelno >= logging.WARNING:
            line = {"event": "library.logged", "message": record.getMessage()}
        else:
            return
        if line["event"] in _UNTOLD:
            return
        line = {
            key: value
            for key, value in line.items()
            if isinstance(value, str | int | float) and key != "exc_info"
        }
        time_unix_s = int(record.created)
        level = record.levelname.lower()
        self._page.said(redacted({**line, "level": level, "timestamp": time_unix_s}))
