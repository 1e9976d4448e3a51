"""Finding and reading the configuration, and saying in one line what is wrong with it.

The one import place of everything about the configuration: `Config` and its sections are
defined in `panoseti_zarr.config.models` and its siblings.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import tomli
from pydantic import ValidationError

from panoseti_zarr.config.cluster import (
    ClusterConfig,
    LocalClusterConfig,
    SshClusterConfig,
    TlsConfig,
)
from panoseti_zarr.config.models import (
    BaselineSubtractConfig,
    Config,
    DaemonConfig,
    LoggingConfig,
    MetricsConfig,
    PffToZarrConfig,
    QuicklookConfig,
    WebConfig,
    own_keys,
    sections,
)
from panoseti_zarr.config.table import describe_config, wrap_markdown
from panoseti_zarr.config.types import Codec, Section
from panoseti_zarr.errors import ConfigError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = [
    "SYSTEM_CONFIG",
    "BaselineSubtractConfig",
    "ClusterConfig",
    "Codec",
    "Config",
    "DaemonConfig",
    "LocalClusterConfig",
    "LoggingConfig",
    "MetricsConfig",
    "PffToZarrConfig",
    "QuicklookConfig",
    "Section",
    "SshClusterConfig",
    "TlsConfig",
    "WebConfig",
    "capped",
    "describe_config",
    "find_config",
    "ineffective_keys",
    "load_config",
    "own_keys",
    "sections",
    "with_changes",
    "wrap_markdown",
]

SYSTEM_CONFIG = Path("/etc/panoseti-zarr/config.toml")
"""Where the service's commands look last."""

_MAX_FILE_BYTES = 100_000
_SHOWN_CHARS = 40
_SIMILAR_HERE, _SIMILAR_ELSEWHERE, _BONUS_HERE = 0.5, 0.7, 0.1

AnySection = TypeVar("AnySection", bound=Section)


def find_config(argument: Path | None, *, service: bool) -> Path | None:
    """Return the configuration file to use.

    Parameters
    ----------
    argument : Path or None
        What the user named; it wins.
    service : bool
        Whether `SYSTEM_CONFIG` counts (commands of the service).

    Returns
    -------
    Path or None
        The argument, else ``$CONFIG_FILE``, else ``./config.toml`` where it exists, else
        `SYSTEM_CONFIG` where it exists and counts, else None: the built-in defaults.
    """
    if argument is not None:
        return argument
    if named := os.environ.get("CONFIG_FILE"):
        return Path(named)
    places = (Path("config.toml"), *((SYSTEM_CONFIG,) if service else ()))
    return next((place for place in places if _is_there(place)), None)


def _is_there(path: Path) -> bool:
    """Whether there is something; what cannot be looked at is, so that reading it says why."""
    try:
        path.lstat()
    except OSError as error:
        return not isinstance(error, FileNotFoundError | NotADirectoryError)
    return True


def load_config(path: Path | None) -> Config:
    """Read and check a configuration file.

    Parameters
    ----------
    path : Path or None
        A TOML file; None for the built-in defaults.

    Returns
    -------
    Config
        Its ``model_fields_set``, and those of its sections, name the keys of the file.

    Raises
    ------
    ConfigError
        When the file cannot be read, is no TOML, or has a wrong or unknown key.
    """
    if path is None:
        return Config()
    try:
        return Config.model_validate(_read_toml(path))
    except ValidationError as error:
        raise ConfigError(_first_of(error), path=str(path)) from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = f"cannot read the configuration: {error.strerror}"
        raise ConfigError(reason, path=str(path)) from None
    if len(data) > _MAX_FILE_BYTES:
        raise ConfigError("a configuration is never larger than 100 kB", path=str(path))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError("not UTF-8 text", path=str(path), byte_offset=error.start) from None
    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        place = f"(at line {error.lineno}, column {error.colno})"
        message = f"the file is not valid TOML: {error.msg} {place}"
        raise ConfigError(message, path=str(path)) from None
    except ValueError as error:  # an integer of more digits than Python converts
        raise ConfigError(f"the file is not valid TOML: {error}", path=str(path)) from None
    except RecursionError:
        raise ConfigError("the file is nested too deeply", path=str(path)) from None


def with_changes(settings: AnySection, **changes: object) -> AnySection:
    """Return a section with some keys changed, checked as if the file had given them.

    Parameters
    ----------
    settings : Section
        Any of the configuration's models.
    **changes
        New values by key; None leaves a key as it is (an option that was not given).

    Raises
    ------
    ConfigError
        When a value is wrong.

    Examples
    --------
    >>> with_changes(PffToZarrConfig(), codec="gzip", level=None).codec
    'gzip'
    """
    given = settings.model_dump(exclude_unset=True)
    given.update({key: value for key, value in changes.items() if value is not None})
    try:
        return type(settings).model_validate(given)
    except ValidationError as error:
        names = [name for name, model in sections() if model is type(settings)]
        raise ConfigError(_first_of(error, *names)) from None


def capped(n: int) -> int:
    """Return a count of threads or workers, capped at the CPUs that this process may use."""
    return min(n, len(os.sched_getaffinity(0)))


def ineffective_keys(config: Config) -> tuple[str, ...]:
    """Say which keys were given but have no effect together with the others: one line each.

    Examples
    --------
    >>> ineffective_keys(Config.model_validate({"cluster": {"local": {"n_workers": 2}}}))
    ('[cluster.local] n_workers has no effect with use_cluster = false',)
    """
    return tuple(
        f"[{section}] {key} has no effect {why}"
        for section, settings, keys, why in _idle(config)
        for key in type(settings).model_fields
        if key in keys and key in settings.model_fields_set
    )


def _idle(config: Config) -> Iterator[tuple[str, Section, Collection[str], str]]:
    """Yield section, its settings, its keys without effect, and why they have none."""
    yield from _idle_of_cluster(config.cluster)
    pff_to_zarr, baseline = config.pff_to_zarr, config.baseline_subtract
    if config.cluster.use_cluster:
        yield "pff_to_zarr", pff_to_zarr, {"num_workers"}, "with use_cluster = true"
    if pff_to_zarr.codec == "none":
        yield "pff_to_zarr", pff_to_zarr, {"level"}, 'with codec = "none"'
    if baseline.codec == "none":
        yield "baseline_subtract", baseline, {"level"}, 'with codec = "none"'
    if baseline.baseline_window == 0:
        yield "baseline_subtract", baseline, {"baseline_mode"}, "with baseline_window = 0"
    elif baseline.baseline_mode == "initial":
        why = 'with baseline_mode = "initial" and a baseline_window'
        yield "baseline_subtract", baseline, {"img_frame_step"}, why


def _idle_of_cluster(cluster: ClusterConfig) -> Iterator[tuple[str, Section, Collection[str], str]]:
    used_by_type = {
        "local": {"local"},
        "ssh": {"ssh", "tls"},
        "address": {"tls", "scheduler_address", "scheduler_file"},
    }
    if cluster.use_cluster:
        used, why = used_by_type[cluster.type], f'with type = "{cluster.type}"'
    else:
        used, why = set(), "with use_cluster = false"
        if cluster.type != "local":
            yield "cluster", cluster, {"type"}, why
    yield "cluster", cluster, {"scheduler_address", "scheduler_file"} - used, why
    for name in ("local", "ssh", "tls"):
        section = getattr(cluster, name)
        if name not in used:
            yield f"cluster.{name}", section, section.model_fields_set, why


def _first_of(error: ValidationError, *within: str) -> str:
    """Put the first problem into words, and count the others."""
    problems = error.errors(include_url=False)
    others = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    first = problems[0]
    return _in_words((*within, *first["loc"]), first) + others


def _in_words(place: tuple[int | str, ...], problem: ErrorDetails) -> str:
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{_cut(part)}" for part in place)
    key = key.removeprefix(".")
    if problem["type"] == "extra_forbidden":
        near = _nearest(".".join(str(part) for part in place[:-1]), _cut(str(place[-1])))
        return f"{key}: unknown key" + (f"; did you mean {near}?" if near else "")
    if problem["type"] == "model_type":
        return f"{key}: must be a section, [{key}], with keys of its own"
    text = problem["msg"].removeprefix("Value error, ").replace("Input should", "must")
    return f"{key}: {text}{_shown(problem['input'])}"


def _shown(value: object) -> str:
    """Say what was given instead, where that is short."""
    if isinstance(value, bool):
        return f", not {str(value).lower()}"
    if isinstance(value, int) and value.bit_length() > 64:
        return ", not a number that large"
    if isinstance(value, int | float):
        return f", not {value}"
    return f', not "{_cut(value)}"' if isinstance(value, str) else ""


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."


def _nearest(section: str, key: str) -> str | None:
    """Name the known key or section most like ``key``, those of its own section first."""
    best, best_score = None, 0.0
    for name, model in sections():
        candidates = [(name.rpartition(".")[0], name.rpartition(".")[2], f"[{name}]")]
        candidates += [(name, field, f"[{name}] {field}") for field in own_keys(model)]
        for where, word, text in candidates:
            score = difflib.SequenceMatcher(None, key.lower(), word).ratio()
            if score < (_SIMILAR_HERE if where == section else _SIMILAR_ELSEWHERE):
                continue
            score += _BONUS_HERE if where == section else 0
            if score > best_score:
                best, best_score = text, score
    return best
