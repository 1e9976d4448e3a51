"""The steps of the commands as functions: what ``import panoseti_zarr`` gives beside the readers.

Each calls the same pipeline as the command of its name, and prints nothing. Where the settings
ask for a Dask cluster it is started for the call, and a program needs its
``if __name__ == "__main__":``.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

from panoseti_zarr.cluster import SharedPaths, make_executor
from panoseti_zarr.config import Config, load_config
from panoseti_zarr.core.pff.names import l1_store_name, parse_run_name
from panoseti_zarr.io.fs.durable import ensure_directory
from panoseti_zarr.io.l0.metadata import read_state
from panoseti_zarr.io.pff.listing import RunListing, describe_refused, list_run
from panoseti_zarr.io.pff.run_config import read_run_config
from panoseti_zarr.io.pff.stream_summary import StreamSummary, describe_stream
from panoseti_zarr.io.verify import VerifyReport, verify_store
from panoseti_zarr.model import StreamKey
from panoseti_zarr.pipeline.convert import StreamOutcome, convert_run
from panoseti_zarr.pipeline.l1 import L1Result, make_l1

StrPath = str | os.PathLike[str]
Settings = Config | StrPath | None


class Run:
    """A run directory: its name, its frame files and its configuration.

    The directory is listed once, here; frames are looked at when `streams` is asked for.

    Parameters
    ----------
    path : str or path-like
        A run directory; any directory with frame files will do.

    Attributes
    ----------
    listing : RunListing
        Its frame files.

    Raises
    ------
    InputError
        The directory is not there, is no directory, or may not be read.
    CorruptDataError
        Its name cannot safely become part of other names.

    Examples
    --------
    >>> run = Run("obs_Lick.start_2024-07-25T04:34:06Z.runtype_sci-data.pffd")
    >>> run.observatory, run.start
    ('Lick', '2024-07-25T04:34:06Z')
    >>> for stream in run.streams:
    ...     print(stream.key, stream.n_frames)
    dp_img16.module_1 1000
    dp_ph256.module_1 300
    >>> run.configuration["data_config.json"]["gain"]
    60
    """

    def __init__(self, path: StrPath) -> None:
        self.listing: RunListing = list_run(Path(path))

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def path(self) -> Path:
        """The directory, links resolved."""
        return self.listing.path

    @property
    def name(self) -> str:
        """Its whole last name, which those of its stores begin with."""
        return self.listing.name

    @property
    def observatory(self) -> str | None:
        """From its name; None if the name does not say."""
        return parse_run_name(self.name).observatory

    @property
    def start(self) -> str | None:
        """The start from its name, UTC, ISO 8601 with colons."""
        return parse_run_name(self.name).run_start

    @property
    def runtype(self) -> str | None:
        """From its name."""
        return parse_run_name(self.name).runtype

    @cached_property
    def streams(self) -> tuple[StreamSummary, ...]:
        """What ``panoseti-zarr streams`` shows: files, frames, bytes, first and last time, gaps."""
        return tuple(describe_stream(self.listing, key) for key in self.listing.keys)

    @property
    def gaps(self) -> dict[StreamKey, tuple[int, ...]]:
        """Seqnos of missing files, of the streams that have such."""
        found = {key: self.listing.gaps(key) for key in self.listing.keys}
        return {key: seqnos for key, seqnos in found.items() if seqnos}

    @property
    def complaints(self) -> tuple[str, ...]:
        """One line for each file that is not read, and why."""
        return tuple(describe_refused(self.listing))

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """Its small JSON files by name, user names and passwords taken out.

        Of larger ones, and of those that are no JSON, ``size_bytes`` and ``sha256``.
        """
        return read_run_config(self.path)


def convert(
    obs: Run | StrPath, l0_dir: StrPath, *, settings: Settings = None
) -> list[StreamOutcome]:
    """Append every stream of a run to its L0 store, and close it.

    What is done already is not done again.

    Parameters
    ----------
    obs : Run, str or path-like
        The run.
    l0_dir : str or path-like
        Where the stores are made; made itself where it is missing.
    settings : Config, str, path-like or None
        Or the configuration file that has them; None: the built-in defaults.

    Returns
    -------
    list of StreamOutcome
        By stream. One that cannot go on is no error: its ``problem`` says why, and its ``store``
        raises it.

    Raises
    ------
    InputError
        There is no run, or it has no frame file.
    ConfigError
        The configuration is wrong.
    TransientIOError
        A transient failure of disk or cluster.

    Examples
    --------
    >>> outcomes = convert("obs_Lick.start_2024-07-25T04:34:06Z.runtype_sci-data.pffd", "l0")
    >>> outcomes[0].result.n_frames, outcomes[0].problem
    (1000, None)
    >>> outcomes[0].store.name
    'obs_Lick.start_2024-07-25T04:34:06Z.runtype_sci-data.pffd.dp_img16.module_1.zarr'
    """
    run = obs if isinstance(obs, Run) else Run(obs)
    config, l0_path = _config(settings), Path(l0_dir).absolute()
    with make_executor(config, places=SharedPaths((l0_path,), (run.path,))) as executor:
        return convert_run(run.listing, l0_path, config, executor)


def baseline(l0: StrPath, l1: StrPath | None = None, *, settings: Settings = None) -> L1Result:
    """Subtract the baseline of a closed L0 store: make its L1 store, or replace it.

    Parameters
    ----------
    l0 : str or path-like
        The L0 store.
    l1 : str, path-like or None
        The L1 store where it ends in ``.zarr``, else the directory in which it gets the name that
        the service gives it; None: that of the L0 store.
    settings : Config, str, path-like or None
        As with `convert`.

    Returns
    -------
    L1Result
        With the store's ``path``.

    Raises
    ------
    InputError
        There is no closed L0 store.
    CorruptDataError
        What the L0 store holds cannot be read.
    TransientIOError
        A transient failure of disk or cluster, or another process makes this store.

    Examples
    --------
    >>> outcomes = convert("obs_Lick.start_2024-07-25T04:34:06Z.runtype_sci-data.pffd", "l0")
    >>> baseline(outcomes[0].store, "l1").path.name
    'obs_Lick.start_2024-07-25T04:34:06Z.runtype_sci-data.pffd.dp_img16.module_1_L1.zarr'
    """
    config, l0_path = _config(settings), Path(l0).absolute()
    l1_path = l0_path.parent if l1 is None else Path(l1).absolute()
    if l1_path.suffix != ".zarr":
        state = read_state(l0_path)
        l1_path /= l1_store_name(state.run, StreamKey(state.product, state.module))
    ensure_directory(l1_path.parent)
    with make_executor(config, places=SharedPaths((l1_path.parent,), (l0_path,))) as executor:
        return make_l1(l0_path, l1_path, config.baseline_subtract, executor)


def verify(l0: StrPath, obs: Run | StrPath | None = None) -> VerifyReport:
    """Look for the first difference between an L0 store and what it must be.

    Parameters
    ----------
    l0 : str or path-like
        The store.
    obs : Run, str, path-like or None
        Its run: then every pixel, header field, time and quality is compared with the PFF files,
        by code that shares no decoding with `convert`. Without it the checksum of every chunk is.

    Returns
    -------
    VerifyReport
        ``ok``, or the first ``difference``.

    Raises
    ------
    InputError
        There is no L0 store, or no run.
    TransientIOError
        Something cannot be read at present, or the store was written to meanwhile.

    Examples
    --------
    >>> run = Run("obs_Lick.start_2024-07-25T04:34:06Z.runtype_sci-data.pffd")
    >>> [verify(outcome.store, run).ok for outcome in convert(run, "l0")]
    [True, True]
    """
    return verify_store(Path(l0), None if obs is None else Path(obs))


def _config(settings: Settings) -> Config:
    if isinstance(settings, Config):
        return settings
    return load_config(None if settings is None else Path(settings))
