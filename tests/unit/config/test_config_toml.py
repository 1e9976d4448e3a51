"""The example ``config.toml`` and the page ``docs/config.md`` agree with the models."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from panoseti_zarr.config import (
    Config,
    describe_config,
    ineffective_keys,
    load_config,
    own_keys,
    sections,
)
from panoseti_zarr.errors import ConfigError

TOP = Path(__file__).parents[3]
EXAMPLE = TOP / "config.toml"
WITHOUT_DEFAULT = re.compile(r"^#(?=[a-z])", re.MULTILINE)
"""A key that is commented out (``#key = value``); prose has a blank after the ``#``."""


def uncommented() -> str:
    """Return the example with its commented-out keys in force."""
    return WITHOUT_DEFAULT.sub("", EXAMPLE.read_text())


def test_example_is_the_production_configuration():
    """The example loads: a local Dask cluster, and directories that do not overlap."""
    config = load_config(EXAMPLE)
    assert (config.cluster.type, config.cluster.use_cluster) == ("local", True)
    assert config.daemon.data_root == (Path("/data/panoseti"),)
    assert config.daemon.state_dir == Path("/var/lib/panoseti-zarr")
    assert None not in {config.daemon.l0_dir, config.daemon.l1_dir}


def test_example_gives_nothing_without_effect():
    """The example has no ineffective keys to report."""
    assert ineffective_keys(load_config(EXAMPLE)) == ()


def test_example_changes_no_default_but_the_cluster():
    """Except for the service's directories and its cluster, the example has the defaults."""
    config, defaults = load_config(EXAMPLE), Config()
    directories = {"data_root", "l0_dir", "l1_dir", "state_dir"}
    assert config.daemon.model_dump(exclude=directories) == defaults.daemon.model_dump(
        exclude=directories
    )
    others = {"daemon": True, "cluster": {"use_cluster"}}
    assert config.model_dump(exclude=others) == defaults.model_dump(exclude=others)


@pytest.mark.parametrize(("name", "model"), list(sections()))
def test_example_mentions_every_key_and_no_other(name, model):
    """Each section of the example has every key of its model, in force or commented out."""
    table = tomllib.loads(uncommented())
    for part in name.split("."):
        table = table[part]
    mentioned = {key for key, value in table.items() if not isinstance(value, dict)}
    assert mentioned == set(own_keys(model))


def test_example_with_every_key_in_force(tmp_path):
    """The commented-out keys are valid too, and those with a default show that default."""
    path = tmp_path / "config.toml"
    path.write_text(uncommented())
    config = load_config(path)
    for name, model in sections():
        settings = config
        for part in name.split("."):
            settings = getattr(settings, part)
        for key in own_keys(model):
            default = model.model_fields[key].default
            if default in {None, ()} or key == "use_cluster":
                continue
            assert getattr(settings, key) == default, f"{name}.{key}"


def test_example_comments_on_every_key():
    """Nearly every key stands below a comment of its own."""
    lines = EXAMPLE.read_text().splitlines()
    keys = [n for n, line in enumerate(lines) if re.match(r"#?[a-z_0-9]+ = ", line)]
    bare = [lines[n] for n in keys if not lines[n - 1].startswith("# ")]
    assert [line.lstrip("#").split(" = ")[0] for line in bare] == [
        "l1_dir",
        "scheduler_file",
        "key",
        "level",
    ]


def test_page_has_an_entry_for_every_key():
    """Each key of each section has one, with its default or ``unset``."""
    page = " ".join(describe_config().split())
    found = re.findall(r"- \*\*`(\w+)`\*\*: .+?; default (?:unset|`.+?`)\.", page)
    assert found == [key for _, model in sections() for key in own_keys(model)]


@pytest.fixture(scope="module")
def anywhere(tmp_path_factory):
    """Return a path that all examples of a property may overwrite."""
    return tmp_path_factory.mktemp("any") / "config.toml"


def load_or_refuse(path: Path, data: bytes) -> None:
    """Load bytes as a configuration; anything but a `Config` or a `ConfigError` fails."""
    path.write_bytes(data)
    try:
        said = ineffective_keys(load_config(path))
    except ConfigError as error:
        said = (str(error),)
    assert all(line.isprintable() and len(line) < 1000 for line in said)


@settings(deadline=None)
@given(data=st.binary(max_size=200))
@example(data=b"a" + b".a" * 2_000 + b" = 1")
@example(data=b"[daemon]\nignore_before = 9999-12-31T23:59:59-14:00")
@example(data=b"[daemon]\nsettle_s = 1e400")
@example(data=b'[cluster]\nlocal.memory_per_worker = "999999999999999.999PiB"')
def test_any_bytes_load_or_are_refused(anywhere, data):
    """No byte string makes the loader fail otherwise than by a one-line ConfigError."""
    load_or_refuse(anywhere, data)


NUMBERS = ["-1", "0", "1e300", "nan", "-inf", "true", "0x" + "f" * 5000, "9" * 5000]
TEXTS = ['""', '"\\u0000"', '"tls://[::1]"', "07:00:00", "1979-05-27", "'~nobody-there/a'"]
TABLES = ["[]", "{}", "[[]]", '["a", 1]', "{a.b.c = 1}"]


@settings(deadline=None)
@given(data=st.data())
def test_mutated_example_loads_or_is_refused(anywhere, data):
    """Bytes replaced anywhere in the example never get past the loader as another error."""
    text = uncommented().encode()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(start + 30, len(text))))
    load_or_refuse(anywhere, text[:start] + data.draw(st.binary(max_size=8)) + text[end:])


@settings(deadline=None)
@given(data=st.data())
def test_any_value_for_any_key_loads_or_is_refused(anywhere, data):
    """Whatever TOML value a key is given, it is taken or refused in one line."""
    keys = re.findall(r"^[a-z_0-9]+ = .*$", uncommented(), re.M)
    line = data.draw(st.sampled_from(keys))
    changed = f"{line.split(' = ')[0]} = {data.draw(st.sampled_from(NUMBERS + TEXTS + TABLES))}"
    load_or_refuse(anywhere, uncommented().replace(f"\n{line}\n", f"\n{changed}\n").encode())
