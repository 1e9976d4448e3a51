"""Feeds the status page, where one is configured, from the service's loop and at its own pace."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from panoseti_zarr.config import Config, QuicklookConfig
from panoseti_zarr.daemon.log import get_logger
from panoseti_zarr.daemon.state.instructions import Log
from panoseti_zarr.daemon.status.document import StatusDocument

if TYPE_CHECKING:
    from panoseti_zarr.daemon.web.server import StatusPage

LEAST_PAUSE_S = 0.2
"""Seconds between two documents for a page with viewers, at least."""

PAUSE_FACTOR = 3
"""How many times longer than the last one took to describe the next one waits, at least."""


class PageFeed:
    """Hands the status page what is new.

    A page without viewers gets what is written to the status file anyway. One that is
    looked at gets a document of its own a moment after something happened: the file may lag
    behind where the disk is slow or the runs are many.

    Parameters
    ----------
    config : Config
    state_dir : Path

    Attributes
    ----------
    dashboard_url : str or None
        Of Dask's dashboard.
    has_news : bool
        Something happened since the page got its last document.
    """

    def __init__(self, config: Config, state_dir: Path) -> None:
        self.dashboard_url: str | None = None
        self.has_news = True
        self._page = _start(config, state_dir)
        self._shown_s = 0.0
        self._pause_s = LEAST_PAUSE_S

    def on_log(self, log: Log, *, is_news: bool) -> None:
        """Take in a log event."""
        self.has_news = self.has_news or is_news
        if self._page and log.event == "stream.committed":
            self._page.committed(log.fields["n_bytes"], time.time())

    def publish(self, document: StatusDocument) -> None:
        """Show a status document."""
        if self._page:
            self._page.show(document, self.dashboard_url)

    def run_due(self, describe: Callable[[], StatusDocument]) -> None:
        """Show a new document where one is due; ``describe`` makes it."""
        if self._page is None:
            return
        self._page.alive()
        began_s = time.monotonic()
        is_due = began_s - self._shown_s >= self._pause_s
        if is_due and self.has_news and self._page.is_watched:
            self.publish(describe())
            self.has_news = False
            self._shown_s = time.monotonic()
            self._pause_s = max(LEAST_PAUSE_S, PAUSE_FACTOR * (self._shown_s - began_s))

    def close(self) -> None:
        """Stop the page's server."""
        if self._page:
            self._page.close()


def _start(config: Config, state_dir: Path) -> StatusPage | None:
    port = config.web.port
    if not port:
        return None
    # Only where it is used: the import takes a tenth of a second.
    from panoseti_zarr.daemon.web.server import StatusPage  # noqa: PLC0415

    try:
        page = StatusPage(
            port, config.quicklook.directory(state_dir) or state_dir / QuicklookConfig.DEFAULT_NAME
        )
    except OSError as error:
        get_logger().error("web.failed", port=port, reason=str(error))
        return None
    get_logger().info("web.started", port=port)
    return page
