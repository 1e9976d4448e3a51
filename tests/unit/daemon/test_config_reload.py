"""What a configuration that is read again changes at once."""

import pytest

from panoseti_zarr.config import BaselineSubtractConfig, Config, PffToZarrConfig, sections
from panoseti_zarr.daemon.config_reload import merge


def config(**sections):
    """Return a configuration from its sections."""
    return Config.model_validate(sections)


def test_what_can_hold_at_once_is_taken_over():
    """Timing, limits, level, and how new stores are made."""
    new = config(
        daemon={"settle_s": 3, "min_free_gb": 1.0},
        logging={"level": "debug"},
        pff_to_zarr={"codec": "gzip"},
        baseline_subtract={"baseline_window": 7},
    )
    merged, changed, needs_restart = merge(Config(), new)
    assert set(changed) == {
        "daemon.settle_s",
        "daemon.min_free_gb",
        "logging.level",
        "pff_to_zarr.codec",
        "baseline_subtract.baseline_window",
    }
    assert needs_restart == ()
    assert merged.daemon.settle_s == 3
    assert merged.pff_to_zarr.codec == "gzip"


def test_what_cannot_is_named_and_left():
    """Directories, cluster, threads and ports hold after a restart only."""
    new = config(
        daemon={"l0_dir": "/elsewhere", "watch": "polling"},
        cluster={"use_cluster": True, "local": {"n_workers": 2}},
        pff_to_zarr={"num_workers": 1},
        metrics={"port": 9100},
        logging={"format": "json"},
    )
    merged, changed, needs_restart = merge(Config(), new)
    assert changed == ()
    assert set(needs_restart) == {
        "daemon.l0_dir",
        "daemon.watch",
        "cluster.use_cluster",
        "cluster.local",
        "pff_to_zarr.num_workers",
        "metrics.port",
        "logging.format",
    }
    assert merged == Config()


LIVE = {
    "daemon": {
        *("settle_s", "quiet_s", "rescan_s", "recheck_s", "hang_s", "retry_s", "tail_flush_s"),
        *("max_streams", "min_free_gb", "finished_markers", "ignore_before"),
        *("verify", "housekeeping", "follow", "follow_dirs"),
    },
    "logging": {"level", "progress_s"},
    "pff_to_zarr": {*PffToZarrConfig.model_fields} - {"num_workers"},
    "baseline_subtract": {*BaselineSubtractConfig.model_fields},
}


@pytest.mark.parametrize(
    ("section", "key"),
    [(name, key) for name, model in sections() if "." not in name for key in model.model_fields],
)
def test_each_key_applies_at_once_or_after_a_restart(section, key):
    """A changed value is taken over exactly for the keys that the documentation calls live."""
    part = getattr(Config(), section).model_copy(update={key: "another value"})
    merged, changed, needs_restart = merge(Config(), Config().model_copy(update={section: part}))
    is_live = key in LIVE.get(section, ())
    assert (changed if is_live else needs_restart) == (f"{section}.{key}",)
    assert (getattr(getattr(merged, section), key) == "another value") == is_live


def test_an_equal_configuration_changes_nothing():
    """Read again without an edit."""
    same = config(daemon={"settle_s": 10})
    assert merge(Config(), same)[1:] == ((), ())
