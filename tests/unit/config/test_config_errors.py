"""What the configuration refuses, and the one line that says so."""

from __future__ import annotations

import re

import pytest

from panoseti_zarr.config import load_config
from panoseti_zarr.errors import ConfigError


@pytest.fixture
def complaint(tmp_path):
    """Return a function that gives the message which refuses a text, without the file's name."""
    path = tmp_path / "config.toml"

    def of(text: str) -> str:
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError) as caught:
            load_config(path)
        assert str(caught.value).isprintable()
        assert str(path) in str(caught.value)
        assert caught.value.exit_code == 2
        return caught.value.message

    return of


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[daemon]\nsettle_s = = 3", r"not valid TOML: .*line 2, column 12"),
        ("[daemon]\nsettle_s = 1\nsettle_s = 2", r"not valid TOML: .*line 3, column 13"),
        ("x = " + "[" * 50_000, "nested too deeply"),
        ("x = " + "9" * 5000, "not valid TOML"),
        ("daemon = 3", r"daemon: must be a section, \[daemon\]"),
        ("cluster = []", r"cluster: must be a section, \[cluster\]"),
        ("[cluster]\nssh = 'a'", r"cluster.ssh: must be a section, \[cluster.ssh\]"),
        ("[[pff_to_zarr]]\nlevel = 1", r"pff_to_zarr: must be a section"),
    ],
)
def test_malformed_file(complaint, text, message):
    """What is no TOML, or not laid out in sections, is refused with the place."""
    assert re.search(message, complaint(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[daemon]\nsetle_s = 1", "daemon.setle_s: unknown key; did you mean [daemon] settle_s?"),
        ("settle_s = 1", "settle_s: unknown key; did you mean [daemon] settle_s?"),
        ("[deamon]\nsettle_s = 1", "deamon: unknown key; did you mean [daemon]?"),
        ("[cluster]\nhosts = []", "cluster.hosts: unknown key; did you mean [cluster.ssh] hosts?"),
        ("[cluster]\nshs = {}", "cluster.shs: unknown key; did you mean [cluster.ssh]?"),
        (
            "[cluster.local]\nworkers_per_host = 1",
            "cluster.local.workers_per_host: unknown key; "
            "did you mean [cluster.ssh] workers_per_host?",
        ),
        (
            "[baseline_subtract]\nlevle = 1",
            "baseline_subtract.levle: unknown key; did you mean [baseline_subtract] level?",
        ),
        (
            "[cluster]\nuse_dask = true",
            "cluster.use_dask: unknown key; did you mean [cluster] use_cluster?",
        ),
        ("[web]\nzzzzzz = 1", "web.zzzzzz: unknown key"),
        ('[web]\n"a\\nb" = 1', "web.a\nb: unknown key"),
    ],
)
def test_unknown_key_names_the_nearest(complaint, text, message):
    """A misspelt or misplaced key is named, with the right one where there is one like it."""
    assert complaint(text) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[daemon]\nsettle_s = -1", "daemon.settle_s: must be greater than or equal to 0, not -1"),
        ("[daemon]\nsettle_s = nan", "daemon.settle_s: must be a finite number, not nan"),
        ("[daemon]\nsettle_s = true", "daemon.settle_s: must be a valid number, not true"),
        ("[daemon]\nrescan_s = 0", "daemon.rescan_s: must be greater than or equal to 0.01, not 0"),
        ("[daemon]\nmax_streams = 0", "daemon.max_streams: must be greater than or equal to 1"),
        ("[daemon]\nmin_free_gb = -1", "daemon.min_free_gb: must be greater"),
        ("[daemon]\nwatch = 'poll'", "daemon.watch: must be 'auto', 'inotify' or 'polling'"),
        ("[daemon]\ndata_root = 3", "daemon.data_root: must be a list"),
        ("[daemon]\ndata_root = ['/a', 3]", "daemon.data_root[1]: must be a path in quotes, not 3"),
        ("[daemon]\ndata_root = ''", "daemon.data_root[0]: must be a path: it is empty"),
        ("[daemon]\ndata_root = ['/a', '/b/../a']", "daemon.data_root: must not name a directory"),
        ('[daemon]\nl0_dir = "/a\\u0000"', "daemon.l0_dir: must be a path: it is empty or has"),
        ("[daemon]\nl0_dir = '~no-such-user/a'", "daemon.l0_dir: cannot be made an absolute path"),
        ("[daemon]\nfinished_markers = 'a'", "daemon.finished_markers: must be a list"),
        ("[daemon]\nfinished_markers = []", "daemon.finished_markers: must not be empty while"),
        ("[daemon]\nfinished_markers = ['a/b']", "daemon.finished_markers[0]: must be the name"),
        (
            "[daemon]\nfinished_markers = ['run_complete', 'recording_ended']",
            "daemon.finished_markers[1]: must not be recording_ended",
        ),
        ("[daemon]\nignore_before = '2025-01-01'", "daemon.ignore_before: must be a date without"),
        ("[daemon]\nignore_before = 12:00:00", "daemon.ignore_before: must be a date without"),
        (
            "[daemon]\nignore_before = 0001-01-01T00:00:00+14:00",
            "daemon.ignore_before: must lie in the years 1 to 9999 of UTC",
        ),
        ("[cluster]\ntype = 'slurm'", "cluster.type: must be 'local', 'ssh' or 'address'"),
        ("[cluster]\nuse_cluster = 'no'", "cluster.use_cluster: must be a valid boolean"),
        ("[cluster]\nuse_cluster = 1", "cluster.use_cluster: must be a valid boolean, not 1"),
        ("[cluster]\nscheduler_address = 'a b'", "cluster.scheduler_address: must be an address"),
        (
            "[cluster]\nscheduler_address = 'tls://u:p@h:1'",
            "cluster.scheduler_address: must be an address",
        ),
        ("[cluster.ssh]\nhosts = 'localhost'", "cluster.ssh.hosts: must be a list"),
        ("[cluster.ssh]\nhosts = []", "cluster.ssh.hosts: must not be empty"),
        ("[cluster.ssh]\nhosts = ['-oProxy']", "cluster.ssh.hosts[0]: must be a plain name"),
        ("[cluster.ssh]\nusername = ''", "cluster.ssh.username: must be a plain name"),
        ("[cluster.ssh]\nscheduler_port = 65536", "cluster.ssh.scheduler_port: must be less than"),
        ("[cluster.ssh]\ndashboard_port = -1", "cluster.ssh.dashboard_port: must be greater than"),
        ("[cluster.ssh]\nconnect_timeout = 0", "cluster.ssh.connect_timeout: must be greater than"),
        ("[cluster.local]\nn_workers = 0", "cluster.local.n_workers: must be greater than"),
        ("[cluster.local]\nn_workers = 1.5", "cluster.local.n_workers: must be a valid integer"),
        (
            "[cluster.local]\nmemory_per_worker = '4 parsecs'",
            'cluster.local.memory_per_worker: must be a size such as "4GB" or "512MiB", '
            'not "4 parsecs"',
        ),
        ("[cluster.local]\nmemory_per_worker = '4MB'", "cluster.local.memory_per_worker: must be"),
        ("[cluster.local]\nmemory_per_worker = 4", "cluster.local.memory_per_worker: must be a"),
        ("[cluster.tls]\nca_file = '/a'", "cluster.tls: needs ca_file, cert and key together"),
        ("[pff_to_zarr]\ncodec = 'lz4'", "pff_to_zarr.codec: must be 'blosc-lz4', 'zstd', 'gzip'"),
        ("[pff_to_zarr]\nlevel = 10", 'pff_to_zarr.level: must be at most 9 with codec = "blosc'),
        (
            "[pff_to_zarr]\nlevel = 10\ncodec = 'gzip'",
            'pff_to_zarr.level: must be at most 9 with codec = "gzip", not 10',
        ),
        ("[pff_to_zarr]\ncodec = 'zstd'\nlevel = 23", "pff_to_zarr.level: must be less than or"),
        ("[pff_to_zarr]\ntime_chunk = 0", "pff_to_zarr.time_chunk: must be greater than"),
        ("[pff_to_zarr]\ntime_chunk = 1000001", "pff_to_zarr.time_chunk: must be less than"),
        (
            "[pff_to_zarr]\ninner_chunk = 1000",
            "pff_to_zarr.inner_chunk: must divide time_chunk = 32768, not 1000",
        ),
        ("[pff_to_zarr]\ninner_chunk = 65536", "pff_to_zarr.inner_chunk: must divide time_chunk"),
        ("[pff_to_zarr]\nchecksum = 'yes'", "pff_to_zarr.checksum: must be a valid boolean"),
        ("[baseline_subtract]\nbaseline_window = -1", "baseline_subtract.baseline_window: must be"),
        ("[baseline_subtract]\nbaseline_mode = 'x'", "baseline_subtract.baseline_mode: must be"),
        ("[baseline_subtract]\nimg_block_size = 5", "baseline_subtract.img_block_size: must divid"),
        (
            "[baseline_subtract]\nimg_adc_to_pe = 0",
            "baseline_subtract.img_adc_to_pe: must be",
        ),
        ("[baseline_subtract]\nimg_frame_step = 0", "baseline_subtract.img_frame_step: must be"),
        ("[logging]\nlevel = 'loud'", "logging.level: must be 'debug', 'info', 'warning' or 'erro"),
        ("[metrics]\nport = 70000", "metrics.port: must be less than or equal to 65535, not 70000"),
        (f"[metrics]\nport = 0x{'f' * 9000}", "metrics.port: must be less than or equal to 65535"),
        (f"[daemon]\nsettle_s = 0x{'f' * 9000}", "daemon.settle_s: must be a valid number, not"),
    ],
)
def test_wrong_value_names_key_and_reason(complaint, text, message):
    """A value out of its range or of another type is refused by its dotted key."""
    assert complaint(text).startswith(message)


def test_several_problems_are_counted(complaint):
    """The first problem is told in full, and how many others there are."""
    assert complaint("[web]\nport = -1\n[metrics]\nport = -1\nx = 1").endswith("(and 2 more)")


def test_long_values_are_not_repeated_whole(complaint):
    """A message stays short, whatever the file holds."""
    assert len(complaint(f"[daemon]\nwatch = '{'x' * 5000}'")) < 200
    assert len(complaint(f"{'x' * 5000} = 1")) < 200


@pytest.mark.parametrize("where", ["/data/raw", "/data/raw/L", "/data/raw/a/../L", "/data//raw"])
@pytest.mark.parametrize("key", ["l0_dir", "l1_dir"])
def test_stores_may_not_lie_inside_a_data_root(complaint, key, where):
    """A store's directory in or at any of the data roots is refused, and the root named."""
    message = complaint(f'[daemon]\ndata_root = ["/mnt", "/data/raw"]\n{key} = "{where}"')
    assert message.startswith(f"daemon.{key}: must not lie inside the data root /data/raw")


def test_store_directories_must_differ(complaint):
    """L0 and L1 stores may not share a directory, however it is written."""
    message = complaint('[daemon]\nl0_dir = "/data/z"\nl1_dir = "/data/./z"')
    assert message.startswith("daemon.l1_dir: must not be the same directory as l0_dir")


def test_address_cluster_needs_exactly_one_address(complaint):
    """A cluster of others needs its scheduler's address or the file with it, once it is used."""
    used = '[cluster]\ntype = "address"\nuse_cluster = true\n'
    assert "either scheduler_address or scheduler_file" in complaint(used)
    both = 'scheduler_address = "h:1"\nscheduler_file = "/s"\n'
    assert complaint(used + both).endswith("not both")
