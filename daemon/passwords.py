"""No log line and no status shows a password: user names and passwords in URLs are taken out."""

from __future__ import annotations

import re
from typing import Any

_USER_INFO = re.compile(r"(?<=://)[^\s/@]*@")


def hide_passwords(value: Any) -> Any:
    """Return a JSON value with every text in it, keys included, free of passwords.

    Examples
    --------
    >>> hide_passwords({"why": ["http://admin:1234@10.0.1.1/outlet"]})
    {'why': ['http://***@10.0.1.1/outlet']}
    """
    if isinstance(value, str):
        return _USER_INFO.sub("***@", value)
    if isinstance(value, list | tuple):
        return [hide_passwords(item) for item in value]
    if isinstance(value, dict):
        return {hide_passwords(key): hide_passwords(item) for key, item in value.items()}
    return value
