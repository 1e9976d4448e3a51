"""Names of runs and frame files: any text, and any bytes that a directory can hold."""

import os
import string
import tempfile
from pathlib import Path

from fuzzing import MEMORY, fuzz, told
from hypothesis import strategies as st
from support.reference_store import PIXELS, pixel_bytes

from panoseti_zarr.core.pff.names import (
    check_run_name,
    l1_store_name,
    parse_frame_file_name,
    parse_run_name,
    store_name,
)
from panoseti_zarr.daemon.watch.root_scan import scan_root
from panoseti_zarr.errors import CorruptDataError
from panoseti_zarr.io.pff.listing import describe_refused, list_run
from panoseti_zarr.model import StreamKey

BYTES_OF_A_PIXEL = {product: pixel_bytes(product) // side**2
                    for product, (_, side) in PIXELS.items()}  # fmt: skip
LONGEST_STREAM = StreamKey("ph1024", 254)

odd_text = st.one_of(
    st.text(max_size=8),
    st.binary(max_size=8).map(os.fsdecode),
    st.sampled_from(("", ".", "..", "/", "_", "\0", "\n", "\u0661", "\u2028", "\udcff", "é" * 101)),
)
counts = st.integers(0, 260).map(str)
numbers = st.one_of(
    counts,
    st.sampled_from(("-1", "+1", " 1", "1 ", "1_0", "0x1", "007", "1e2", "9" * 9, "9" * 10, "²")),
    odd_text,
)
times = st.one_of(
    st.sampled_from(
        (
            "2024-07-25T04:34:06Z", "2024-07-25T04-34-06Z", "2024-07-25T04_34_06Z",
            "0000-00-00T00:00:00Z", "9999-12-31T23:59:60Z", "2024-02-30T00:00:00Z",
            "2024-07-25T04:34:06", "0001-01-01T00:00:00Z", "٢024-07-25T04:34:06Z",
        )
    ),
    odd_text,
)  # fmt: skip
parts = st.one_of(
    st.sampled_from([f"dp_{product}" for product in (*PIXELS, "img32", "")]),
    numbers.map("module_".__add__),
    numbers.map("seqno_".__add__),
    st.sampled_from(("bpp_1", "bpp_2", "bpp_", "bpp_02", "bpp_x")),
    times.map("start_".__add__),
    odd_text.map("obs_".__add__),
    st.sampled_from(("pff", "pffd", "debug_TRUNCATED", "runtype_sci-data", "birdie_3", "hk")),
    odd_text,
)
endings = st.sampled_from((".pff", ".pff", ".pffd", ""))
names = st.one_of(
    odd_text,
    st.builds("{}{}".format, st.lists(parts, max_size=7).map(".".join), endings),
    st.builds(
        "{}.dp_{}.bpp_{}.module_{}.seqno_{}.pff".format,
        times.map("start_".__add__),
        st.sampled_from(sorted(PIXELS)),
        st.sampled_from((1, 2)),
        st.one_of(counts, counts, numbers),
        st.one_of(counts, counts, numbers),
    ),
    st.builds(
        "{}.{}.module_{}.seqno_{}{}.pff".format,
        odd_text,
        st.sampled_from([f"dp_{product}" for product in PIXELS]),
        counts,
        counts,
        st.one_of(st.just(""), odd_text.map(".x_".__add__)),
    ),
    st.integers(150, 260).map("x".__mul__),
)


def expected_frame_file(name):
    """Read a frame file's name again, by the rules of the format: None, "refused" or its parts."""
    if name[:1] == "." or name[-4:] != ".pff":
        return None
    values = {}
    for part in reversed(name.split(".")):
        if "_" in part:
            key, value = part.split("_", 1)
            values[key] = value
    if "dp" not in values:
        return None
    counts = [values.get(key, "0" if key == "bpp" else "") for key in ("module", "seqno", "bpp")]
    if not all(0 < len(c) < 10 and set(c) <= set(string.digits) for c in counts):
        return "refused"
    module, seqno, n_bytes = map(int, counts)
    product = values["dp"]
    is_known = product in PIXELS and module < 255 and name.isprintable()
    if not is_known or ("bpp" in values and n_bytes != BYTES_OF_A_PIXEL[product]):
        return "refused"
    return product, module, seqno, n_bytes if "bpp" in values else None


@fuzz(2500, name=names)
def test_any_frame_file_name(name):
    """A name is a frame file's, is another's, or is refused in one line: by the rules alone."""
    found, reason = told(lambda: parse_frame_file_name(name), CorruptDataError)
    if reason:
        found = "refused"
    elif found:
        found = (found.key.product, found.key.module, found.seqno, found.bytes_per_pixel)
    assert found == expected_frame_file(name)


@fuzz(1500, name=names)
def test_any_run_name(name):
    """A run name that is not refused gives names of stores that every file system takes."""
    tells = parse_run_name(name)
    if tells.run_start is not None:
        assert len(tells.run_start) == len("2024-07-25T04:34:06Z")
    if told(lambda: check_run_name(name), CorruptDataError)[1]:
        return
    for store in (store_name(name, LONGEST_STREAM), l1_store_name(name, LONGEST_STREAM)):
        assert store.isprintable()
        assert "/" not in store
        assert len(f".{store}.rebuilt".encode()) <= 255


def can_be_made(name):
    """Whether a file or directory can have a name."""
    return name not in {"", ".", ".."} and not {"/", "\0"} & set(name) and len(name) < 200


file_names = names.map(lambda name: os.fsdecode(os.fsencode(name)))


@fuzz(400, run=file_names, files=st.lists(file_names, max_size=4, unique=True))
def test_any_directory(run, files):
    """Listing a root and its runs raises the declared errors alone, whatever the names are."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as root:
        name = f"{run}.pffd"
        if not can_be_made(name) or len(os.fsencode(name)) > 255:
            return
        path = Path(root, name)
        path.mkdir()
        made = [file for file in files if can_be_made(file) and len(os.fsencode(file)) <= 255]
        for file in made:
            (path / file).write_bytes(b"x")
        listing = scan_root(Path(root))
        if told(lambda: check_run_name(name), CorruptDataError)[1]:
            assert [refused for refused, _ in listing.refused] in ([name], [])
            return
        assert [entry.name for entry in listing.runs] == [name] * (not name.startswith("."))
        found = list_run(path)
        kinds = [expected_frame_file(file) for file in made]
        n_listed = sum(len(of_stream) for of_stream in found.streams.values())
        assert n_listed == sum(isinstance(kind, tuple) for kind in kinds)
        assert len(found.refused) == kinds.count("refused")
        assert all(line.isprintable() for line in describe_refused(found))
