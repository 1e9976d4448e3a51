"""Take user names and passwords out of what is published: stores, logs, the status."""

from __future__ import annotations

import re
from typing import Any

REMOVED = "removed"

_USER_INFO = re.compile(r"(?<=://)(?:[^\s/?#]*@|[^\s/@:]*:[^\s@]*@)")
_SECRET_KEY = re.compile(r"passw|passphrase|secret|token", re.IGNORECASE)
_NAMED_SECRET = re.compile(
    r"((?:passw|passphrase|secret|token)[\w-]*[\"']?[ \t]*[:=][ \t]*)"
    r"(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s,;&]+)",
    re.IGNORECASE,
)


def without_user_info(value: Any) -> Any:
    """Return a JSON value with no user name or password in any URL, keys included.

    Examples
    --------
    >>> without_user_info({"why": ["http://admin:1234@10.0.1.1/outlet"]})
    {'why': ['http://10.0.1.1/outlet']}
    """
    if isinstance(value, str):
        return _USER_INFO.sub("", value) if "://" in value else value
    if isinstance(value, list | tuple):
        return [without_user_info(item) for item in value]
    if isinstance(value, dict):
        return {without_user_info(key): without_user_info(item) for key, item in value.items()}
    return value


def without_secrets(value: Any) -> Any:
    """Return a JSON value as `without_user_info` does, and without what secret keys hold.

    Examples
    --------
    >>> without_secrets({"password": "1234", "gain": 60})
    {'password': 'removed', 'gain': 60}
    """
    if isinstance(value, list | tuple):
        return [without_secrets(item) for item in value]
    if isinstance(value, dict):
        return {
            name: REMOVED if _SECRET_KEY.search(name) else without_secrets(item)
            for name, item in ((without_user_info(key), item) for key, item in value.items())
        }
    return without_user_info(value)


def without_secrets_in_text(text: str) -> str:
    """Return free text without user names and passwords in URLs, and without named secrets.

    Examples
    --------
    >>> without_secrets_in_text("GET http://admin:1234@10.0.1.1/outlet password=1234 ok")
    'GET http://10.0.1.1/outlet password=removed ok'
    """
    return _NAMED_SECRET.sub(rf"\1{REMOVED}", _USER_INFO.sub("", text))
