"""Installation of the service on a server, and its removal.

The program itself is there already, in a virtual environment outside ``/home`` and ``/root``.
What is added is the unit with a drop-in of the directories that the configuration names, a link
to the command, the service's user, an example configuration if there is no other, and the output
directories. Done again, it brings all of that up to date and leaves configuration, state and
stores alone.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import panoseti_zarr
from panoseti_zarr.config import Config, load_config
from panoseti_zarr.errors import InputError

NAME = "panoseti-zarr"
CONFIG_PATH = Path("/etc/panoseti-zarr/config.toml")

_UNIT = f"{NAME}.service"
_UNIT_PATH = Path("/etc/systemd/system", _UNIT)
_DROP_IN_PATH = Path("/etc/systemd/system", f"{_UNIT}.d", "10-directories.conf")
_COMMAND_PATH = Path("/usr/local/bin", NAME)
_SYSUSERS_PATH = Path("/etc/sysusers.d", f"{NAME}.conf")
_STATE_DIR = Path("/var/lib", NAME)

_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
_SETGID_DIRECTORY = 0o2750
_STATE_DIRECTORY = 0o750

Tell = Callable[[str], None]


def install(config_path: Path, tell: Tell) -> None:
    """Install the service, or bring an installed one up to date.

    Parameters
    ----------
    config_path : Path
        The unit's configuration file; an example is installed if there is no such file.
    tell : callable
        Takes a line for each thing that was done or is left to do.

    Raises
    ------
    InputError
        Not root, no systemd, or the program is where the service cannot run it.
    ConfigError
        The configuration is wrong, or lacks a directory.
    """
    _check_place()
    if not config_path.exists():
        _write(config_path, source("config.toml").read_text(), tell)
    config = load_config(config_path)
    drop_in = directories_drop_in(config, config_path, Path(sys.executable).parent)
    _write(_SYSUSERS_PATH, source("systemd/panoseti-zarr.sysusers").read_text(), tell)
    _call("systemd-sysusers", str(_SYSUSERS_PATH))
    for path in _written(config):
        _make_directory(path, _STATE_DIRECTORY if path == config.daemon.state_dir else None, tell)
    _write(_UNIT_PATH, source(f"systemd/{_UNIT}").read_text(), tell)
    _write(_DROP_IN_PATH, drop_in, tell)
    _link_command(Path(sys.prefix, "bin", NAME), tell)
    _call("systemctl", "daemon-reload")
    _call("systemctl", "enable", "--quiet", _UNIT)
    _call("systemctl", "try-restart", _UNIT)
    for root in config.daemon.data_root:
        if not root.is_dir():
            tell(f"note: the data root {root} is not there")
    tell(f"enabled {_UNIT}; `systemctl start {NAME}` starts it now")


def remove(tell: Tell, *, purge: bool = False) -> None:
    """Stop the service and take away what `install` put in place.

    Parameters
    ----------
    tell : callable
        Takes a line for each thing that was done or is left.
    purge : bool
        Take configuration and state away too. The stores always stay.

    Raises
    ------
    InputError
        Not root, or no systemd.
    """
    _check_root()
    if _UNIT_PATH.exists():
        _call("systemctl", "disable", "--quiet", "--now", _UNIT)
    for path in (_DROP_IN_PATH, _UNIT_PATH, _SYSUSERS_PATH, _COMMAND_PATH):
        if os.path.lexists(path) and (path != _COMMAND_PATH or path.is_symlink()):
            path.unlink()
            tell(f"removed {path}")
    if _DROP_IN_PATH.parent.is_dir() and not os.listdir(_DROP_IN_PATH.parent):
        _DROP_IN_PATH.parent.rmdir()
    _call("systemctl", "daemon-reload")
    for path in (CONFIG_PATH.parent, _STATE_DIR):
        if path.exists() and purge:
            shutil.rmtree(path)
            tell(f"removed {path}")
        elif path.exists():
            tell(f"kept {path}")
    tell(f"kept the user {NAME} and all stores")


def source(name: str) -> Path:
    """Return a file that belongs to the program: of its checkout, or of the installed wheel."""
    checkout = Path(panoseti_zarr.__file__).parent.parent / name
    return checkout if checkout.exists() else Path(sys.prefix, "share", NAME, Path(name).name)


def directories_drop_in(config: Config, config_path: Path, bin_dir: Path) -> str:
    """Return the part of the unit that follows from the configuration.

    Parameters
    ----------
    config : Config
    config_path : Path
    bin_dir : Path
        Where the program is.

    Raises
    ------
    InputError
        A directory that the service needs is not configured.
    """
    written = _written(config)
    lines = [
        f"# Made by `{NAME} install-service`, which is run again after the directories in",
        f"# {config_path} change.",
        "[Service]",
        f"Environment={_quoted(f'PATH={bin_dir}:/usr/local/bin:/usr/bin:/bin')}",
        "ExecStart=",
        f"ExecStart=/usr/bin/env {NAME} serve --config {_quoted(config_path)}",
        "ReadWritePaths=",
        *(f"ReadWritePaths={_quoted(f'-{path}')}" for path in written if path != _STATE_DIR),
    ]
    shown = [*((path, "") for path in written), *((r, "ReadOnly") for r in config.daemon.data_root)]
    hidden = [(path, how) for path, how in shown if _is_at_home(path)]
    if hidden:
        # A home directory stays hidden but for what the configuration names in it.
        lines.append("ProtectHome=tmpfs")
        lines += [f"Bind{how}Paths={_quoted(f'-{path}')}" for path, how in hidden]
    return "\n".join([*lines, ""])


def _written(config: Config) -> tuple[Path, ...]:
    """Return the directories that the service writes into.

    Raises
    ------
    InputError
        One of them is not configured.
    """
    daemon = config.daemon
    named = {"l0_dir": daemon.l0_dir, "l1_dir": daemon.l1_dir, "state_dir": daemon.state_dir}
    for key, path in named.items():
        if path is None:
            raise InputError(f"daemon.{key} must be set for the service")
    return tuple(path for path in (*named.values(), config.quicklook.dir) if isinstance(path, Path))


def _check_place() -> None:
    _check_root()
    if _is_at_home(Path(sys.prefix)):
        raise InputError(
            "the service cannot see home directories: install the program elsewhere"
            " (`make install` puts it into /opt/panoseti-zarr)",
            path=sys.prefix,
        )
    if _is_at_home(Path(sys.base_prefix).resolve()):
        raise InputError(
            "the service cannot see home directories, where this Python is: install the program"
            " with another (`make install PYTHON=/usr/bin/python3`)",
            path=sys.base_prefix,
        )


def _check_root() -> None:
    if os.geteuid() != 0:
        raise InputError("only root can install the service")
    if shutil.which("systemctl") is None:
        raise InputError("there is no systemd here: run `panoseti-zarr serve` by other means")


def _is_at_home(path: Path) -> bool:
    return any(path.is_relative_to(home) for home in _HOMES)


def _quoted(value: Path | str) -> str:
    """Write a value as unit files want it: see systemd.syntax(7) and systemd.unit(5).

    Raises
    ------
    InputError
        It has characters that settings of paths take no escapes for.
    """
    text = str(value)
    if not text.isprintable() or set(text) & {'"', "'", "\\"}:
        raise InputError("a path with quotes, backslashes or control characters", path=text)
    return f'"{text.replace("%", "%%")}"'


def _write(path: Path, text: str, tell: Tell) -> None:
    if path.exists() and path.read_text() == text:
        return
    if not path.parent.exists():
        path.parent.mkdir(parents=True)
        path.parent.chmod(0o755)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text)
    temporary.chmod(0o644)
    temporary.replace(path)
    tell(f"wrote {path}")


def _link_command(program: Path, tell: Tell) -> None:
    """Put the command where everybody finds it, unless there is another."""
    if _COMMAND_PATH.is_symlink() and _COMMAND_PATH.readlink() != program:
        _COMMAND_PATH.unlink()
    if not os.path.lexists(_COMMAND_PATH):
        _COMMAND_PATH.symlink_to(program)
        tell(f"linked {_COMMAND_PATH}")


def _make_directory(path: Path, mode: int | None, tell: Tell) -> None:
    """Make a directory that belongs to the service; one that is there stays as it is."""
    owner = pwd.getpwnam(NAME)
    if not path.exists():
        path.mkdir(parents=True)
        os.chown(path, owner.pw_uid, owner.pw_gid)
        path.chmod(mode or _SETGID_DIRECTORY)
        tell(f"made {path}")
    elif not _may_write(path, owner):
        tell(f"note: {NAME} may not write to {path}: `chown {NAME}:{NAME} {path}`")


def _may_write(path: Path, owner: pwd.struct_passwd) -> bool:
    status = path.stat()
    groups = {owner.pw_gid, *(g.gr_gid for g in grp.getgrall() if NAME in g.gr_mem)}
    if status.st_uid == owner.pw_uid:
        return bool(status.st_mode & 0o200)
    return bool(status.st_mode & (0o020 if status.st_gid in groups else 0o002))


def _call(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise InputError(f"{' '.join(words)} failed: {done.stderr.strip()}")
