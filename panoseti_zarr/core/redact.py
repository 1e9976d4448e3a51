"""Removal of user names and passwords from what is published: stores, logs, the status."""

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


def redact_urls(value: Any) -> Any:
    """Return a JSON value with no user name or password in any URL, keys included.

    Examples
    --------
    >>> redact_urls({"why": ["http://admin:1234@10.0.1.1/outlet"]})
    {'why': ['http://10.0.1.1/outlet']}
    """
    if isinstance(value, str):
        return _USER_INFO.sub("", value) if "://" in value else value
    if isinstance(value, list | tuple):
        return [redact_urls(item) for item in value]
    if isinstance(value, dict):
        return {redact_urls(key): redact_urls(item) for key, item in value.items()}
    return value


def redact(value: Any) -> Any:
    """Return a JSON value as `redact_urls` does, and without what secret keys hold.

    Examples
    --------
    >>> redact({"password": "1234", "gain": 60})
    {'password': 'removed', 'gain': 60}
    """
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    if isinstance(value, dict):
        return {
            name: REMOVED if _SECRET_KEY.search(name) else redact(item)
            for name, item in ((redact_urls(key), item) for key, item in value.items())
        }
    return redact_urls(value)


def without_secrets_in_text(text: str) -> str:
    """Return free text without user names and passwords in URLs, and without named secrets.

    Examples
    --------
    >>> without_secrets_in_text("GET http://admin:1234@10.0.1.1/outlet password=1234 ok")
    'GET http://10.0.1.1/outlet password=removed ok'
    """
    return _NAMED_SECRET.sub(rf"\1{REMOVED}", _USER_INFO.sub("", text))
