"""What of a configuration that was read again can hold at once, and what needs a restart. Pure."""

from __future__ import annotations

from panoseti_zarr.config import Config, sections

_AT_ONCE = {
    "daemon": {
        "settle_s",
        "quiet_s",
        "rescan_s",
        "recheck_s",
        "hang_s",
        "retry_s",
        "max_streams",
        "min_free_gb",
        "finished_markers",
        "ignore_before",
        "verify",
        "housekeeping",
        "follow",
        "tail_flush_s",
        "follow_dirs",
    },
    "logging": {"level", "progress_s"},
}


def merge(old: Config, new: Config) -> tuple[Config, tuple[str, ...], tuple[str, ...]]:
    """Take over what can hold at once.

    Returns
    -------
    merged : Config
    changed : tuple of str
        ``section.key`` of what holds from now on.
    needs_restart : tuple of str
        ``section.key`` of what differs, but holds after a restart only.
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
            if _holds_at_once(section, key):
                update[key] = getattr(after, key)
                changed.append(f"{section}.{key}")
            else:
                needs_restart.append(f"{section}.{key}")
        merged[section] = before.model_copy(update=update)
    return old.model_copy(update=merged), tuple(changed), tuple(needs_restart)


def _holds_at_once(section: str, key: str) -> bool:
    if section == "pff_to_zarr":
        # The local threads are there already.
        return key != "num_workers"
    return section == "baseline_subtract" or key in _AT_ONCE.get(section, set())
