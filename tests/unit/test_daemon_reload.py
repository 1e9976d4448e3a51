"""What a configuration that is read again changes at once."""

from panoseti_zarr.config import Config
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


def test_an_equal_configuration_changes_nothing():
    """Read again without an edit."""
    same = config(daemon={"settle_s": 10})
    assert merge(Config(), same)[1:] == ((), ())
