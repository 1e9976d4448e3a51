"""Numbers in sentences."""

from __future__ import annotations


def count(number: int, noun: str) -> str:
    """Count things.

    Examples
    --------
    >>> count(1, "frame"), count(2000, "frame")
    ('1 frame', '2,000 frames')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def format_size(n_bytes: float) -> str:
    """Give a size in decimal units.

    Examples
    --------
    >>> format_size(25_405_080)
    '25.4 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 999.5:
            return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"
