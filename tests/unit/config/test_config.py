"""The configuration: defaults, how it is found, and what its values become."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from panoseti_zarr import config as config_module
from panoseti_zarr.config import (
    BaselineSubtractConfig,
    ClusterConfig,
    Config,
    PffToZarrConfig,
    QuicklookConfig,
    capped,
    find_config,
    load_config,
    own_keys,
    sections,
    with_changes,
)
from panoseti_zarr.errors import ConfigError

OLD_PIPELINE_FILE = """
[cluster]
type = "ssh"
use_cluster = true

[cluster.ssh]
hosts = ["localhost", "panoseti-dfs0", "panoseti-dfs1"]
workers_per_host = 1
threads_per_worker = 16
memory_per_worker = "16GB"
scheduler_port = 0
dashboard_port = 8797
connect_timeout = 60

[cluster.local]
n_workers = 4
threads_per_worker = 2
memory_per_worker = "4GB"
dashboard_port = 8787

[pff_to_zarr]
codec = "zstd"
level = 3
time_chunk = 65536
max_concurrent_writes = 12
num_workers = 24
blosc_threads = 16
chunk_size_mb = 150

[baseline_subtract]
baseline_window = 100
codec = "blosc-lz4"
level = 5
compute_chunk_size = 4096
"""


@pytest.fixture
def load(tmp_path):
    """Return a function that loads a configuration from its text."""

    def from_text(text: str) -> Config:
        path = tmp_path / "config.toml"
        path.write_text(text, encoding="utf-8")
        return load_config(path)

    return from_text


def test_defaults_are_those_of_the_old_pipeline():
    """Without a file, the old pipeline's keys have the values that its page gave."""
    config = load_config(None)
    assert (config.cluster.type, config.cluster.use_cluster) == ("local", False)
    assert config.cluster.ssh.model_dump(exclude_none=True) == {
        "hosts": ("localhost",),
        "workers_per_host": 1,
        "threads_per_worker": 16,
        "memory_per_worker": "16GB",
        "scheduler_port": 0,
        "dashboard_port": 8797,
        "connect_timeout": 60,
    }
    assert config.cluster.local.model_dump() == {
        "n_workers": 4,
        "threads_per_worker": 2,
        "memory_per_worker": "4GB",
        "dashboard_port": 8787,
    }
    assert config.pff_to_zarr.model_dump(exclude={"checksum", "inner_chunk"}) == {
        "codec": "blosc-lz4",
        "level": 1,
        "time_chunk": 32768,
        "max_concurrent_writes": 12,
        "num_workers": 8,
        "blosc_threads": 8,
        "chunk_size_mb": 50,
    }
    assert (config.pff_to_zarr.checksum, config.pff_to_zarr.inner_chunk) == (True, 1024)


def test_inner_chunks_of_another_chunk_length():
    """The default inner chunk is left out where it does not divide the chunk; one given must."""
    assert PffToZarrConfig().n_inner_frames == 1024
    assert PffToZarrConfig(time_chunk=1000).n_inner_frames == 0
    assert PffToZarrConfig(time_chunk=1000, inner_chunk=250).n_inner_frames == 250
    assert PffToZarrConfig(inner_chunk=0).n_inner_frames == 0


def test_defaults_of_the_baseline():
    """Without a file, the baseline is that of the first 100 frames, with the stated constants."""
    assert load_config(None).baseline_subtract.model_dump() == {
        "baseline_window": 100,
        "baseline_mode": "initial",
        "codec": "blosc-lz4",
        "level": 5,
        "compute_chunk_size": 8192,
        "ph_sigma_threshold": 5,
        "img_block_size": 8,
        "img_frame_step": 200,
        "img_adc_to_pe": 1.5,
        "ph1024_swap_quabos": False,
    }


def test_defaults_of_the_service():
    """Without a file, the service has no directories, and the stated times and limits."""
    config = load_config(None)
    assert config.daemon.model_dump() == {
        "data_root": (),
        "l0_dir": None,
        "l1_dir": None,
        "state_dir": None,
        "settle_s": 10,
        "quiet_s": 0,
        "rescan_s": 60,
        "recheck_s": 86400,
        "hang_s": 60,
        "retry_s": 5,
        "max_streams": 2,
        "min_free_gb": 10,
        "watch": "auto",
        "finished_markers": ("collect_complete", "run_complete"),
        "verify": False,
        "housekeeping": True,
        "follow": False,
        "tail_flush_s": 30,
        "follow_dirs": ("module_*/{run}",),
        "ignore_before": None,
    }
    assert (config.logging.level, config.logging.format) == ("info", "auto")
    assert (config.metrics.port, config.quicklook.dir, config.web.port) == (None, None, None)


def test_pictures_lie_in_the_state_directory_or_elsewhere_or_are_not_made():
    """``dir`` unset, a path, and empty."""
    state_dir = Path("/state")
    for values, found in (
        ({}, state_dir / "quicklook"),
        ({"dir": "/q"}, Path("/q")),
        ({"dir": ""}, None),
    ):
        assert QuicklookConfig.model_validate(values).directory(state_dir) == found
    with pytest.raises(ValidationError, match="path"):
        QuicklookConfig.model_validate({"dir": False})


def test_every_default_is_valid():
    """Every default, given explicitly, is accepted: no default breaks its own rule."""
    for _, model in sections():
        defaults = {key: model.model_fields[key].default for key in own_keys(model)}
        assert model.model_validate(defaults) == model()


def test_every_key_says_what_it_means():
    """Every key has a description that is a whole sentence."""
    for name, model in sections():
        for key in own_keys(model):
            description = model.model_fields[key].description or ""
            assert len(description) > 10, f"{name}.{key}"
            assert description.endswith("."), f"{name}.{key}"


def test_old_pipeline_file_loads_as_it_stands(load):
    """A file of the old pipeline needs no edit, and every key of it arrives."""
    config = load(OLD_PIPELINE_FILE)
    assert config.cluster.ssh.hosts == ("localhost", "panoseti-dfs0", "panoseti-dfs1")
    assert config.cluster.ssh.memory_per_worker_bytes == 16_000_000_000
    assert (config.pff_to_zarr.codec, config.pff_to_zarr.level) == ("zstd", 3)
    assert config.pff_to_zarr.chunk_size_bytes == 150_000_000
    assert config.baseline_subtract.compute_chunk_size == 4096


def test_configuration_is_frozen_and_goes_to_workers():
    """A loaded configuration cannot be changed, and survives the way to another process."""
    config = Config.model_validate({"pff_to_zarr": {"level": 3}})
    with pytest.raises(ValidationError):
        config.pff_to_zarr.level = 9
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301


def test_argument_wins_over_everything(tmp_path, monkeypatch):
    """The file that the user names is used, whatever else there is."""
    monkeypatch.setenv("CONFIG_FILE", "other.toml")
    assert find_config(tmp_path / "named.toml", service=True) == tmp_path / "named.toml"


def test_places_are_tried_in_order(tmp_path, monkeypatch):
    """$CONFIG_FILE, then ./config.toml, then the service's place, then none at all."""
    monkeypatch.chdir(tmp_path)
    system = tmp_path / "etc.toml"
    monkeypatch.setattr(config_module, "SYSTEM_CONFIG", system)
    monkeypatch.delenv("CONFIG_FILE", raising=False)
    assert find_config(None, service=True) is None
    system.touch()
    assert find_config(None, service=True) == system
    assert find_config(None, service=False) is None
    Path("config.toml").touch()
    assert find_config(None, service=True) == Path("config.toml")
    monkeypatch.setenv("CONFIG_FILE", "")
    assert find_config(None, service=False) == Path("config.toml")
    monkeypatch.setenv("CONFIG_FILE", "named.toml")
    assert find_config(None, service=True) == Path("named.toml")


def test_service_looks_in_etc():
    """The last place is the one that the service's documentation names."""
    assert Path("/etc/panoseti-zarr/config.toml") == config_module.SYSTEM_CONFIG


def test_dangling_link_is_not_passed_over(tmp_path, monkeypatch):
    """A ./config.toml that leads nowhere is an error, not a reason for the defaults."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CONFIG_FILE", raising=False)
    Path("config.toml").symlink_to("nowhere")
    found = find_config(None, service=False)
    with pytest.raises(ConfigError, match="No such file"):
        load_config(found)


def test_unreadable_file_is_a_config_error(tmp_path):
    """A missing file, a directory and an endless file are refused in one line."""
    for path, reason in (
        (tmp_path / "missing.toml", "No such file"),
        (tmp_path, "Is a directory"),
        (Path("/dev/zero"), "larger than 100 kB"),
    ):
        with pytest.raises(ConfigError, match=reason) as caught:
            load_config(path)
        assert str(path) in str(caught.value)


def test_file_that_is_not_text(tmp_path):
    """Bytes that are no UTF-8 are refused with their offset; a byte order mark is let pass."""
    path = tmp_path / "config.toml"
    path.write_bytes(b"# caf\xe9\n")
    with pytest.raises(ConfigError, match="not UTF-8") as caught:
        load_config(path)
    assert caught.value.byte_offset == 5
    path.write_bytes(b"\xef\xbb\xbf[web]\nport = 1\n")
    assert load_config(path).web.port == 1


def test_data_root_is_one_or_several(load):
    """One path and a list of paths are both taken, and come as a tuple."""
    assert load('[daemon]\ndata_root = "/a"').daemon.data_root == (Path("/a"),)
    assert load('[daemon]\ndata_root = ["/a", "/b"]').daemon.data_root == (Path("/a"), Path("/b"))


def test_paths_are_absolute(load, tmp_path, monkeypatch):
    """A relative path counts from the working directory, ``~`` is the home directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/observer")
    config = load('[daemon]\nl0_dir = "L0"\n[cluster.ssh]\nknown_hosts = "~/.ssh/known_hosts"')
    assert config.daemon.l0_dir == tmp_path / "L0"
    assert config.cluster.ssh.known_hosts == Path("/home/observer/.ssh/known_hosts")


def test_ignore_before_is_utc(load):
    """A date, a time without a zone and one with a zone all give an instant in UTC."""
    for text, instant in (
        ("2025-01-02", datetime(2025, 1, 2, tzinfo=UTC)),
        ("2025-01-02T03:04:05", datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2025-01-02T03:04:05-07:00", datetime(2025, 1, 2, 10, 4, 5, tzinfo=UTC)),
    ):
        value = load(f"[daemon]\nignore_before = {text}").daemon.ignore_before
        assert value == instant
        assert value is not None
        assert value.utcoffset() == timedelta(0)


def test_markers_may_be_empty_with_a_quiet_time(load):
    """Without markers a run can still finish by being quiet."""
    assert load("[daemon]\nquiet_s = 30\nfinished_markers = []").daemon.finished_markers == ()


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("4GB", 4_000_000_000),
        ("1.5 gb", 1_500_000_000),
        ("512MiB", 512 * 2**20),
        ("200000000B", 200_000_000),
        ("1TiB", 2**40),
        ("100MB", 100_000_000),
    ],
)
def test_memory_sizes(text, size_bytes):
    """A memory size keeps its text and gives its bytes, decimal or binary."""
    local = ClusterConfig.model_validate({"local": {"memory_per_worker": text}}).local
    assert local.memory_per_worker == text
    assert local.memory_per_worker_bytes == size_bytes


@settings(deadline=None)
@given(st.text(max_size=12) | st.from_regex(r"[0-9.]{1,6} ?[KMGTPkmgtp]?i?B?", fullmatch=True))
def test_any_text_is_a_memory_size_or_refused(text):
    """Whatever is written as a memory size is a sensible number of bytes or an error."""
    try:
        ssh = with_changes(ClusterConfig(), ssh={"memory_per_worker": text}).ssh
    except ConfigError:
        return
    assert ssh.memory_per_worker_bytes >= 100_000_000


@pytest.mark.parametrize(
    "address", ["tcp://10.0.1.2:8786", "tls://host.example:8786", "10.0.1.2:8786", "tls://[::1]:1"]
)
def test_scheduler_addresses(address):
    """Addresses as Dask prints them are taken."""
    assert with_changes(ClusterConfig(), scheduler_address=address).scheduler_address == address


def test_address_cluster_takes_an_address_or_a_file(load):
    """A cluster of others is found by its scheduler's address, or by the file with it."""
    used = '[cluster]\ntype = "address"\nuse_cluster = true\n'
    assert load(used + 'scheduler_address = "h:1"').cluster.scheduler_address == "h:1"
    assert load(used + 'scheduler_file = "/s"').cluster.scheduler_file == Path("/s")
    assert load('[cluster]\ntype = "address"').cluster.use_cluster is False


def test_data_root_may_share_the_beginning_of_a_name(load):
    """A store directory beside a data root is not inside it, whatever their names share."""
    daemon = load('[daemon]\ndata_root = "/data/raw"\nl0_dir = "/data/raw2"').daemon
    assert daemon.l0_dir == Path("/data/raw2")


def test_changes_are_checked_like_a_file():
    """A command's option replaces a key, None leaves it, and a wrong value is a ConfigError."""
    settings = PffToZarrConfig(codec="zstd", level=15)
    assert with_changes(settings, time_chunk=64, codec=None).model_dump(exclude_unset=True) == {
        "codec": "zstd",
        "level": 15,
        "time_chunk": 64,
    }
    with pytest.raises(ConfigError, match=r"^pff_to_zarr\.level: must be at most 9"):
        with_changes(settings, codec="gzip")
    with pytest.raises(ConfigError, match=r"^baseline_subtract\.codec: must be"):
        with_changes(BaselineSubtractConfig(), codec="lzma")


def test_counts_are_capped_at_the_cpus_of_the_process():
    """A count is capped at the CPUs that the process may use, not at those of the machine."""
    n_cpus = len(os.sched_getaffinity(0))
    assert [capped(1), capped(n_cpus), capped(n_cpus + 1)] == [1, n_cpus, n_cpus]
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from panoseti_zarr.config import capped; print(capped(64))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert result.stdout.strip() == b"1"


def test_import_needs_pydantic_only():
    """The configuration imports none of the heavy packages, and reads no environment."""
    program = (
        "import os, sys; os.environ['CONFIG_FILE'] = '/nonexistent';"
        "from panoseti_zarr.config import Config; Config();"
        "print({'numpy', 'zarr', 'tensorstore', 'dask', 'distributed', 'xarray'} & {*sys.modules})"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert result.stdout.strip() == b"set()"
