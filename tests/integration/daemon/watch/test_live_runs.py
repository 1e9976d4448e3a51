"""Where the frame files of a run that is recorded may lie, and what is remembered of them."""

import pytest

from panoseti_zarr.config import DaemonConfig, load_config
from panoseti_zarr.daemon.watch.live_runs import LiveRuns
from panoseti_zarr.errors import ConfigError

RUN = "obs_[1]*.pffd"


@pytest.fixture
def root(tmp_path):
    """A data root with two nodes' directories of a run whose name has wild cards."""
    for place in (RUN, f"module_1/{RUN}", f"module_2/{RUN}", "module_1/obs_1x.pffd", "other"):
        (tmp_path / "root" / place).mkdir(parents=True)
    (tmp_path / "outside" / RUN).mkdir(parents=True)
    return tmp_path / "root"


def directories(root, **settings):
    """Return the places that are found, relative to the root."""
    recordings = LiveRuns(DaemonConfig(follow=True, **settings))
    return [str(path.relative_to(root)) for path in recordings.directories(root, RUN)]


def test_a_runs_directories_beside_it(root):
    """Those of its own name, whatever characters it has; nothing where runs are not followed."""
    assert directories(root) == [f"module_1/{RUN}", f"module_2/{RUN}"]
    assert LiveRuns(DaemonConfig()).directories(root, RUN) == ()


def test_patterns(root):
    """The run's name is added to a pattern without it; its own directory does not count."""
    assert directories(root, follow_dirs=["module_2", "*", "{run}", "no/such"]) == [
        f"module_1/{RUN}",
        f"module_2/{RUN}",
    ]


def test_links_that_lead_out_are_not_followed(root):
    """A link inside the root is a directory like others; one that leads out of it is ignored."""
    (root / "module_3").symlink_to(root.parent / "outside")
    (root / "module_4").mkdir()
    (root / "module_4" / RUN).symlink_to(root / "other")
    assert directories(root) == [f"module_1/{RUN}", f"module_2/{RUN}", "other"]


@pytest.mark.parametrize("pattern", ["/data/{run}", "../{run}", "", "a//{run}", "a/./b"])
def test_patterns_that_lead_out_are_refused(tmp_path, pattern):
    """Before the service starts, with the key's name."""
    config = tmp_path / "config.toml"
    config.write_text(f'[daemon]\nfollow_dirs = ["{pattern}"]\n')
    with pytest.raises(ConfigError, match="follow_dirs"):
        load_config(config)


def test_only_some_runs_are_remembered():
    """A service that runs for months does not remember every recording."""
    recordings = LiveRuns(DaemonConfig(follow=True))
    first = recordings.get("first.pffd")
    for n in range(63):
        recordings.get(f"{n}.pffd")
    assert recordings.get("first.pffd") is first
    for n in range(64):
        recordings.get(f"{n}.pffd")
    assert recordings.get("first.pffd") is not first
