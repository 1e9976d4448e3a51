"""The HTTP handlers of the status page: its files, its events, and quick-look images."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from tornado.http1connection import HTTP1Connection
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler

from panoseti_zarr.daemon.web.hub import ClientHub

HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})
"""What a browser may call this server: a name that leads here from elsewhere is refused."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}

HEARTBEAT_S = 10.0
"""Seconds between two signs of life to a reader to whom nothing is new."""

_FLUSH_S = 20.0
"""Seconds after which a reader that takes nothing is left."""

_PAUSE_S = 0.2
"""Seconds between two messages to one reader, at least."""

_ERROR_HEADERS: dict[int, dict[str, str]] = {
    HTTPStatus.METHOD_NOT_ALLOWED: {"Allow": "GET, HEAD"},
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": "10"},
}

_FOREIGN = frozenset({"cross-site", "same-site"})


class BaseHandler(RequestHandler):
    """What all answers share: headers, and who may ask.

    GET and HEAD only; tornado answers 405 to everything else.
    """

    hall: ClientHub

    def initialize(self, hall: ClientHub) -> None:
        """Take over what the handlers share."""
        self.hall = hall

    def set_default_headers(self) -> None:
        """Set what every answer carries, errors included."""
        self.clear_header("Server")
        for name, value in HEADERS.items():
            self.set_header(name, value)

    def prepare(self) -> None:
        """Refuse a request by another name, or of another site's page.

        Another site may have its name lead to 127.0.0.1 (DNS rebinding), and would read the page
        as its own. A link from elsewhere may open the page itself.
        """
        if self.request.method not in {"GET", "HEAD"}:
            raise HTTPError(HTTPStatus.METHOD_NOT_ALLOWED)
        if self.request.host_name.lower() not in HOSTS:
            raise HTTPError(HTTPStatus.FORBIDDEN)
        headers = self.request.headers
        is_foreign = headers.get("Sec-Fetch-Site") in _FOREIGN
        if is_foreign and headers.get("Sec-Fetch-Mode") != "navigate":
            raise HTTPError(HTTPStatus.FORBIDDEN)
        self.hall.asked()

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer an error in one line, never with a traceback."""
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        for name, value in _ERROR_HEADERS.get(status_code, {}).items():
            self.set_header(name, value)
        self.finish(f"{status_code} {HTTPStatus(status_code).phrase}\n")


class AssetHandler(BaseHandler):
    """The page's own files."""

    async def get(self) -> None:
        """Send a file, or say that the browser has it."""
        file = self.hall.files.get(self.request.path)
        if file is None:
            raise HTTPError(HTTPStatus.NOT_FOUND)
        self.set_header("Content-Type", file.kind)
        self.set_header("Cache-Control", "no-cache")
        self.finish(file.content)

    head = get


class ImageHandler(BaseHandler):
    """A quick-look image, by its name in the listing."""

    async def get(self, quoted: str) -> None:
        """Send an image that is listed; no other path is ever looked at."""
        content = await self.hall.picture(unquote(quoted))
        if content is None:
            raise HTTPError(HTTPStatus.NOT_FOUND)
        self.set_header("Content-Type", "image/png")
        self.set_header("Cache-Control", "private, max-age=86400")
        self.finish(content)

    head = get


class EventStreamHandler(BaseHandler):
    """Server-sent events: first everything, then what changes.

    An event's ID is the version up to which the reader knows everything; a browser that lost the
    connection sends it back, and gets what it missed.
    """

    def initialize(self, hall: ClientHub) -> None:
        """Take over what the handlers share."""
        super().initialize(hall)
        self._news = asyncio.Event()
        self._is_gone = False

    async def get(self) -> None:
        """Send changes for as long as the reader takes them."""
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        if self.request.method == "HEAD":
            return
        if not self.hall.enter(self._news):
            raise HTTPError(HTTPStatus.SERVICE_UNAVAILABLE)
        try:
            await self._tell(self.hall.known_to(self.request.headers.get("Last-Event-ID", "")))
        except (StreamClosedError, TimeoutError):
            self._leave()
        finally:
            self.hall.leave(self._news)

    head = get

    def on_connection_close(self) -> None:
        """Stop waiting: the client is gone."""
        self._is_gone = True
        self._news.set()

    async def _tell(self, known: int) -> None:
        hall = self.hall
        is_first, is_beat = True, False
        while not self._is_gone:
            self._news.clear()
            if is_first or hall.board.version > known:
                is_first = False
                text, known = hall.board.changes_since(known), hall.board.version
                await self._send(f"id: {hall.epoch}.{known}\ndata: {text}\n\n")
            elif is_beat:
                await self._send(f"event: beat\ndata: {hall.silent_s():.0f}\n\n")
            if hall.is_closing:
                # More may have come while the last message was on its way.
                if hall.board.version == known:
                    return
                continue
            await asyncio.sleep(_PAUSE_S)
            try:
                await asyncio.wait_for(self._news.wait(), HEARTBEAT_S)
                is_beat = False
            except TimeoutError:
                is_beat = True

    async def _send(self, text: str) -> None:
        self.write(text)
        await asyncio.wait_for(self.flush(), _FLUSH_S)

    def _leave(self) -> None:
        """Close the connection to a reader that does not take what it is sent."""
        self._is_gone = True
        connection = self.request.connection
        if isinstance(connection, HTTP1Connection):
            connection.close()
