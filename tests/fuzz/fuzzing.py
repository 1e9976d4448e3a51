"""How a property is fuzzed: the same examples at every test run, or new ones for a while.

``FUZZ_SECONDS`` in the environment is the time of each property. Without it each takes a fixed
number of examples that are always the same.
"""

import os
import random
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings
from support.effort import examples

FUZZ_S = float(os.environ.get("FUZZ_SECONDS", "0"))

MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # noqa: S108
"""Where the directories of the examples are made: an fsync costs nothing there."""

_ROUND_EXAMPLES = 2000
_CHECKS_THAT_MEASURE_THE_STRATEGY = [
    HealthCheck.too_slow,
    HealthCheck.data_too_large,
    HealthCheck.large_base_example,
    HealthCheck.filter_too_much,
]

RATES: dict[str, tuple[int, float]] = {}
"""Examples and seconds of every property so far, by its name."""


def told(call, error):
    """Call a function; return its result, or None, and what an error of that kind says.

    What an error says must be one line that can be printed. Any other error goes through.
    """
    try:
        return call(), ""
    except error as raised:
        text = str(raised)
    assert text.isprintable()
    assert 0 < len(text) < 2000
    return None, text


def fuzz(n_examples, **strategies):
    """Make a test of a property: a function of what the strategies draw.

    Parameters
    ----------
    n_examples : int
        In a thorough test run; see `effort`.
    **strategies
        By parameter.
    """

    def decorate(check):
        def test():
            began_s = time.monotonic()
            try:
                n_done = _for_a_while(check, strategies) if FUZZ_S else _once(check, strategies)
            except BaseException:
                RATES[check.__name__] = (0, time.monotonic() - began_s)
                raise
            RATES[check.__name__] = (n_done, time.monotonic() - began_s)

        def _once(check, strategies):
            counted, count = _counted(check, strategies, examples(n_examples), derandomize=True)
            counted()
            return count[0]

        test.__name__, test.__doc__ = check.__name__, check.__doc__
        test.__module__ = check.__module__
        return pytest.mark.timeout(FUZZ_S + 900)(test)

    return decorate


def _for_a_while(check, strategies):
    """Take rounds of new examples until the time is over; return how many there were.

    A failure ends it, with the smallest example that fails.
    """
    counted, count = _counted(check, strategies, _ROUND_EXAMPLES, derandomize=False)
    end_s = time.monotonic() + FUZZ_S
    while time.monotonic() < end_s:
        seed(random.getrandbits(64))(counted)()
    return count[0]


def _counted(check, strategies, n_examples, *, derandomize):
    count = [0]

    @settings(
        max_examples=n_examples,
        derandomize=derandomize,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=_CHECKS_THAT_MEASURE_THE_STRATEGY,
    )
    @given(**strategies)
    def counted(**drawn):
        count[0] += 1
        check(**drawn)

    return counted, count
