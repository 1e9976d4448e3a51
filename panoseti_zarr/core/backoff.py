"""The delay before the next attempt after failures in a row. Pure."""

from __future__ import annotations

from dataclasses import dataclass

_MOST_DOUBLINGS = 30


@dataclass(frozen=True)
class Backoff:
    """A delay that doubles with each failure, up to a limit.

    Attributes
    ----------
    first_s : float
        Seconds after the first failure.
    most_s : float
        The longest delay, seconds.

    Examples
    --------
    >>> backoff = Backoff(first_s=1.0, most_s=10.0)
    >>> [backoff.delay_s(n_failures) for n_failures in (1, 2, 3, 4, 5, 10**9)]
    [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    """

    first_s: float
    most_s: float

    def delay_s(self, n_failures: int) -> float:
        """Return the seconds until the next attempt, after ``n_failures`` in a row (from 1)."""
        # The exponent is bounded, as the number of failures is not.
        doublings = min(max(0, n_failures - 1), _MOST_DOUBLINGS)
        return min(self.first_s * 2.0**doublings, self.most_s)
