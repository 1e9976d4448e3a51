"""The configuration: any text, and any values at the keys that there are."""

import json
import math
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path, PurePath

from fuzzing import MEMORY, fuzz, told
from hypothesis import strategies as st

from panoseti_zarr.config import Config, ineffective_keys, load_config, own_keys, sections
from panoseti_zarr.errors import ConfigError

EXAMPLE = Path(__file__).parents[2].joinpath("config.toml").read_bytes()
KEYS = [(section, key) for section, model in sections() for key in own_keys(model)]
DEFAULTS = Config()

tokens = st.sampled_from(
    (
        *(f"[{name}]\n" for name, _ in sections()),
        *sorted({f"{key} = " for _, key in KEYS}),
        "[[daemon]]\n", "[", "]", "{", "}", "=", ".", ",", "\n", "\r", '"', "'", '"""', "'''", "#",
        "true", "false", "nan", "-inf", "0x1F", "1_000", "1e400", "-0", "9" * 5000, "2024-02-30",
        "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "07:32:00", "\\u0000", "\\ud800",
        "[" * 2000, "{a=" * 500, "\0", "\ufeff", "é", '"~nobody-of-this-name/x"', '"64GB"',
    )
)  # fmt: skip
texts = st.one_of(
    st.binary(max_size=60),
    st.lists(st.one_of(tokens, st.text(max_size=5)), max_size=15).map(
        lambda drawn: "".join(drawn).encode(errors="surrogatepass")
    ),
)


@st.composite
def damaged_examples(draw):
    """Draw the example configuration with some places overwritten, put in or cut."""
    text = bytearray(EXAMPLE)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        stop = start + draw(st.sampled_from((0, 1, 4, 40)))
        text[start:stop] = draw(st.one_of(texts, st.binary(max_size=3)))
    return bytes(text)


def load(text):
    """Load a configuration; None where it is refused, and the reason."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        path = Path(directory, "config.toml")
        path.write_bytes(text)
        return told(lambda: load_config(path), ConfigError)


@fuzz(1200, text=st.one_of(texts, damaged_examples()))
def test_any_text(text):
    """Any text is a configuration or a `ConfigError` of one line."""
    config, _ = load(text)
    if config is not None:
        assert Config.model_validate(config.model_dump(exclude_unset=True)) == config
        assert all(line.isprintable() for line in ineffective_keys(config))


scalars = st.one_of(
    st.booleans(),
    st.integers(-2, 40),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from((0, 1, 22, 254, 1024, 65535, 65536, 10**6, 10**12, 0.5, 1e-300, 1e300)),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=12),
    st.sampled_from(
        (
            "blosc-lz4", "zstd", "gzip", "none", "local", "ssh", "address", "initial", "running",
            "auto", "debug", "/data", "relative/path", "~", "~nobody-of-this-name", "4GB", "1KiB",
            "4gb", "tcp://127.0.0.1:8786", "tls://[::1]:1", "collect_complete", "recording_ended",
            "json", "inotify", "", ".", "..", "a/b", "-x", "x@y", "a\nb", "/data/run.pffd\0",
        )
    ),
    st.dates(),
    st.datetimes(),
    st.sampled_from((datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))),
)  # fmt: skip
values = st.one_of(
    scalars,
    st.lists(scalars, max_size=3),
    st.dictionaries(st.sampled_from(("a", "hosts", "data_root")), scalars, max_size=2),
)


def value_of(config, section, key):
    """Return the value of a key."""
    value = config
    for name in (*section.split("."), key):
        value = getattr(value, name)
    return value


def fitting(default):
    """Return values that a key with such a default would mostly take."""
    if isinstance(default, bool):
        return st.booleans()
    if isinstance(default, int | float):
        return st.one_of(st.integers(1, 9), st.just(default), st.sampled_from((16, 0.5)))
    if isinstance(default, tuple):
        return st.lists(st.sampled_from(("/a", "b", "collect_complete")), min_size=1, max_size=3)
    return st.sampled_from(("/data/a", "/data/b", "local", "zstd", "auto", "4GB", date(2024, 7, 1)))


@st.composite
def structures(draw):
    """Draw values for some keys, those too that do not exist."""
    structure = {}
    odds = draw(st.sampled_from((0, 0, 0, 1, 4)))
    for _ in range(draw(st.integers(1, 5))):
        section, key = draw(st.sampled_from(KEYS))
        is_odd = odds > draw(st.integers(0, 3))
        value = draw(values if is_odd else fitting(value_of(DEFAULTS, section, key)))
        if is_odd:
            key = draw(st.sampled_from((key, key, key, "codex", "x.y", "\n")))
        structure[section, key] = value
    return structure


def toml(value):
    """Write a value as TOML."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{toml(k)} = {toml(v)}' for k, v in value.items())}}}"
    return repr(value)


def document(structure):
    """Write the values of keys as a TOML document."""
    lines = []
    for section in sorted({section for section, _ in structure}):
        lines.append(f"[{section}]")
        lines += [f"{toml(k)} = {toml(v)}" for (s, k), v in structure.items() if s == section]
    return "\n".join(lines).encode()


def is_taken(value, given):
    """Whether a field holds what the file gave, of the same type, or what that stands for."""
    if isinstance(value, tuple):
        given = given if isinstance(given, list) else [given]
        return len(value) == len(given) and all(map(is_taken, value, given))
    if isinstance(value, PurePath):
        return isinstance(given, str) and str(value).startswith("/")
    if isinstance(value, datetime):
        return isinstance(given, date) and value.tzinfo is UTC
    if isinstance(value, float):
        return type(given) in {int, float} and value == given and math.isfinite(value)
    return type(value) is type(given) and value == given


@fuzz(1500, structure=structures())
def test_any_values(structure):
    """Values are taken as they are and leave all other keys alone, or the wrong key is named."""
    config, problem = load(document(structure))
    if config is None:
        shown = [(section, key.replace("\n", "\\n")) for section, key in structure]
        keys = [f"{section}.{key}" for section, key in shown]
        assert problem.startswith((*keys, *(f"{section}: " for section, _ in shown), "cluster: "))
        return
    assert structure.keys() <= {*KEYS}
    for section, key in KEYS:
        value = value_of(config, section, key)
        if (section, key) in structure:
            assert is_taken(value, structure[section, key])
        else:
            assert value == value_of(DEFAULTS, section, key)
    assert all(line.isprintable() for line in ineffective_keys(config))
