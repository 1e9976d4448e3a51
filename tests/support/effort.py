"""How many examples a property takes: a few in `make test`, all in `make test-all`."""

import os

IS_THOROUGH = bool(os.environ.get("THOROUGH"))


def examples(n: int) -> int:
    """Return the number of examples of a test that takes ``n`` when it is thorough."""
    return n if IS_THOROUGH else max(n // 5, 1)
