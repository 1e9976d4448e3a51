"""Keys without effect, and the command ``check-config``."""

from __future__ import annotations

import json
import tomllib

import pytest
import typer
from typer.testing import CliRunner

from panoseti_zarr.cli.check_config import check_config
from panoseti_zarr.config import Config, ineffective_keys
from panoseti_zarr.errors import ConfigError


def notes_on(text: str) -> tuple[str, ...]:
    """Return the keys without effect of a configuration text."""
    return ineffective_keys(Config.model_validate(tomllib.loads(text)))


def test_nothing_given_nothing_ineffective():
    """Defaults are not complained about: only what the file gave can be without effect."""
    assert ineffective_keys(Config()) == ()


def test_clusters_that_are_not_used():
    """With use_cluster = false, each key of the clusters that was given is named once."""
    text = """
        cluster.type = "ssh"
        cluster.scheduler_file = "/s"
        cluster.ssh.hosts = ["localhost", "panoseti-dfs0"]
        cluster.local.n_workers = 4
        pff_to_zarr.num_workers = 4
    """
    assert notes_on(text) == (
        "[cluster] type has no effect with use_cluster = false",
        "[cluster] scheduler_file has no effect with use_cluster = false",
        "[cluster.local] n_workers has no effect with use_cluster = false",
        "[cluster.ssh] hosts has no effect with use_cluster = false",
    )


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        (
            '[cluster]\nuse_cluster = true\nscheduler_file = "/s"\n[cluster.local]\nn_workers = 2\n'
            "[cluster.ssh]\nworkers_per_host = 2\n[pff_to_zarr]\nnum_workers = 2",
            (
                '[cluster] scheduler_file has no effect with type = "local"',
                '[cluster.ssh] workers_per_host has no effect with type = "local"',
                "[pff_to_zarr] num_workers has no effect with use_cluster = true",
            ),
        ),
        (
            '[cluster]\nuse_cluster = true\ntype = "ssh"\n[cluster.local]\nn_workers = 2\n'
            '[cluster.ssh]\nhosts = ["a"]\n[cluster.tls]\nca_file = "/a"\ncert = "/b"\nkey = "/c"',
            ('[cluster.local] n_workers has no effect with type = "ssh"',),
        ),
        (
            '[cluster]\nuse_cluster = true\ntype = "address"\nscheduler_address = "h:1"\n'
            '[cluster.ssh]\nhosts = ["a"]\n[cluster.tls]\nca_file = "/a"\ncert = "/b"\nkey = "/c"',
            ('[cluster.ssh] hosts has no effect with type = "address"',),
        ),
        (
            '[pff_to_zarr]\ncodec = "none"\nlevel = 5\nnum_workers = 2\n'
            '[baseline_subtract]\ncodec = "none"\nlevel = 5',
            (
                '[pff_to_zarr] level has no effect with codec = "none"',
                '[baseline_subtract] level has no effect with codec = "none"',
            ),
        ),
        (
            '[baseline_subtract]\nbaseline_window = 0\nbaseline_mode = "running"\n'
            "img_frame_step = 7",
            ("[baseline_subtract] baseline_mode has no effect with baseline_window = 0",),
        ),
        (
            "[baseline_subtract]\nimg_frame_step = 7",
            (
                "[baseline_subtract] img_frame_step has no effect "
                'with baseline_mode = "initial" and a baseline_window',
            ),
        ),
        ('[baseline_subtract]\nbaseline_mode = "running"\nimg_frame_step = 7', ()),
        (
            '[quicklook]\ndir = "/q"\n[web]\nport = 1',
            (),
        ),
    ],
)
def test_ineffective_keys_of_a_mode(text, notes):
    """In each mode exactly the given keys without effect are named, with the reason."""
    assert notes_on(text) == notes


@pytest.fixture
def run_check(tmp_path):
    """Return a function that runs ``check-config`` on a text, as a command of its own."""
    app = typer.Typer()
    app.command()(check_config)

    def on(text: str, *options: str):
        path = tmp_path / "config.toml"
        path.write_text(text)
        return CliRunner().invoke(app, [str(path), *options]), path

    return on


def test_check_config_says_ok_and_notes(run_check):
    """A right file gives one line on stdout, and notes on stderr for keys without effect."""
    result, path = run_check("[baseline_subtract]\nimg_frame_step = 7")
    assert (result.exit_code, result.stdout) == (0, f"{path}: ok\n")
    assert result.stderr.startswith("note: [baseline_subtract] img_frame_step has no effect with")


def test_check_config_prints_the_effective_configuration(run_check):
    """With --json, stdout is one JSON object with one line a section, defaults included."""
    result, _ = run_check('[daemon]\ndata_root = "/a"\nignore_before = 2025-01-01', "--json")
    assert result.exit_code == 0
    effective = json.loads(result.stdout)
    assert list(effective) == list(Config.model_fields)
    assert effective["daemon"]["data_root"] == ["/a"]
    assert effective["daemon"]["ignore_before"] == "2025-01-01T00:00:00Z"
    assert effective["pff_to_zarr"]["time_chunk"] == 32768
    assert len(result.stdout.splitlines()) == len(effective) + 2


def test_check_config_refuses_a_wrong_file(run_check):
    """A wrong file is the ConfigError that gives exit code 2, and nothing on stdout."""
    result, _ = run_check("[web]\nprot = 1")
    assert isinstance(result.exception, ConfigError)
    assert "did you mean [web] port?" in str(result.exception)
    assert result.stdout == ""
