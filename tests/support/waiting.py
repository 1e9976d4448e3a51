"""How long tests wait for what must happen: until it does, or until nobody would believe it."""

import time
from collections.abc import Callable
from typing import Any

PATIENCE_S = 300.0
"""A limit that no machine reaches, however busy; what takes longer hangs."""


def wait_until(is_so: Callable[[], Any], why: Callable[[], Any] | str = "", step_s=0.05) -> Any:
    """Ask until something is so that nothing gives notice of; return it."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not (found := is_so()):
        assert time.monotonic() < deadline_s, why() if callable(why) else why
        time.sleep(step_s)
    return found
