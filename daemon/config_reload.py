"""Split a reloaded configuration into keys that apply now and keys that need a restart. Pure."""

from __future__ import annotations

from panoseti_zarr.config import Config, Section, sections


def merge(old: Config, new: Config) -> tuple[Config, tuple[str, ...], tuple[str, ...]]:
    """Take over the keys that apply without a restart.

    Returns
    -------
    merged : Config
    changed : tuple of str
        ``section.key`` of what applies from now on.
    needs_restart : tuple of str
        ``section.key`` of what differs, but applies after a restart only.
    """
    changed: list[str] = []
    needs_restart: list[str] = []
    merged = {}
    for section, _ in sections():
        if "." in section:
            continue
        before, after = getattr(old, section), getattr(new, section)
        update = {}
        for key in type(before).model_fields:
            if getattr(before, key) == getattr(after, key):
                continue
            if _is_live(type(before), key):
                update[key] = getattr(after, key)
                changed.append(f"{section}.{key}")
            else:
                needs_restart.append(f"{section}.{key}")
        merged[section] = before.model_copy(update=update)
    return old.model_copy(update=merged), tuple(changed), tuple(needs_restart)


def _is_live(section: type[Section], key: str) -> bool:
    """Whether a key applies without a restart, as its model says (`live_field`)."""
    extra = section.model_fields[key].json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("live"))
