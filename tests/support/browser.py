"""Headless Chromium for the tests of the status page: Debian's, with its own driver."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.needs import find
from support.waiting import PATIENCE_S

_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
)


class Browser:
    """A window of Chromium. Leave its context and it is closed."""

    def __init__(self, profile: Path) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = find("chromium")
        for option in (*_OPTIONS, f"--user-data-dir={profile}"):
            options.add_argument(option)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(find("chromedriver")))
        self.resize(1280, 900)

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.driver.quit()

    def resize(self, width: int, height: int, *, is_dark: bool = False) -> None:
        """Give the window a size, and the colours that its user prefers."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def open(self, port: int) -> None:
        """Open the page and wait until it shows what the service says."""
        # The page before may lose its service at any moment, and complain.
        self.driver.get("about:blank")
        self.complaints()
        self.driver.get(f"http://127.0.0.1:{port}/")
        self.wait(self.loaded_s)

    def loaded_s(self) -> float:
        """Return the seconds from the request for the page to its first picture; 0 before."""
        script = "return performance.getEntriesByName('shown').map((mark) => mark.startTime)"
        marks = self.run(script)
        return marks[0] / 1000 if marks else 0.0

    def run(self, script: str) -> Any:
        """Run a script in the page."""
        return self.driver.execute_script(script)

    def text(self, selector: str) -> str:
        """Return the text of all that a CSS selector finds, also of what is not in sight."""
        script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)"
        return "\n".join(self.driver.execute_script(script, selector))

    def count(self, selector: str) -> int:
        """Return how many elements a CSS selector finds."""
        return self.driver.execute_script(
            "return document.querySelectorAll(arguments[0]).length", selector
        )

    def wait(self, is_so: Callable[[], Any]) -> Any:
        """Wait until something is so, and return it."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not (found := is_so()):
            assert time.monotonic() < deadline_s, self.text("body")
            time.sleep(0.02)
        return found

    def complaints(self) -> list[str]:
        """Return what the browser's console said since it was asked last."""
        return [line["message"] for line in self.driver.get_log("browser")]

    def picture(self, name: str, default: Path) -> Path:
        """Save a picture of the window into $SCREENSHOTS, else into a directory."""
        directory = Path(os.environ.get("SCREENSHOTS") or default)
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{name}.png"
        assert self.driver.save_screenshot(str(path))
        return path
