"""Full, failing and read-only disks: one line that says so, nothing wrong, and it goes on."""

import pytest
from nights import SETTINGS, make_night
from processes import SMALL_CHUNKS, IngestProcess, assert_one_line, convert, hold
from support.disks import Ext4Disk, memory_disk, remount
from support.needs import need
from support.stores import ingest
from traces import require_strace

from panoseti_zarr.io.l0.metadata import read_state

pytestmark = pytest.mark.root

CONFIG = "[pff_to_zarr]\ntime_chunk = 8\nmax_concurrent_writes = 1\n"


@pytest.fixture(scope="module")
def config(memory_dir):
    """A configuration file with the settings of the undisturbed stores."""
    file = memory_dir / "config.toml"
    file.write_text(CONFIG)
    return file


@pytest.fixture(scope="module")
def img16_night(memory_dir):
    """A run whose store takes 1.2 MB."""
    return make_night(memory_dir / "img16_night", product="img16", n_frames=100, files_of=45)


def convert_as_a_disk_grows(night, config, place, sizes, enough):
    """Convert onto a disk too small for it, at each of its sizes, and at last with enough.

    One line each time, and then the same end. Return how many failed, and of these how many
    had committed something.
    """
    need(root=True)
    n_failed = n_partly = 0
    with memory_disk(place / "disk", sizes[0]) as disk:
        l0_dir = disk / "l0"
        for size in sizes[1:]:
            remount(disk, size)
            done = convert(night.run, l0_dir, config)
            n_frames = night.assert_readable(l0_dir)
            if done.returncode:
                assert_one_line(done, "No space left on device")
                n_failed += 1
                n_partly += 0 < n_frames < night.n_frames
        remount(disk, enough)
        assert convert(night.run, l0_dir, config).returncode == 0
        night.assert_finished(l0_dir)
    return n_failed, n_partly


def test_a_full_disk(img16_night, config, place, count):
    """A disk that is too small at first and grows."""
    sizes = ["size=40k", *(f"size={kib}k" for kib in (40, 300, 600, 900, 1150, 1400))]
    n_failed, n_partly = convert_as_a_disk_grows(img16_night, config, place, sizes, "size=20m")
    count(n_failed=n_failed, n_partly=n_partly)
    assert n_failed >= 4
    assert n_partly >= 2


def test_no_inodes(img16_night, config, place, count):
    """The same, where there is space and no inode is left."""
    sizes = ["size=20m,nr_inodes=3", *(f"nr_inodes={n}" for n in (3, 10, 150, 400, 600, 800))]
    enough = "nr_inodes=10000"
    n_failed, n_partly = convert_as_a_disk_grows(img16_night, config, place, sizes, enough)
    count(n_failed=n_failed, n_partly=n_partly)
    assert n_failed >= 3
    assert n_partly >= 1


@pytest.fixture
def ext4(place):
    """A disk that can fail."""
    need(root=True)
    with Ext4Disk(place / "disk", place / "image") as made:
        yield made


def test_a_disk_that_is_read_only(img16_night, config, ext4):
    """Nothing can be written: one line; writable again, the end is the same."""
    l0_dir = ext4.place / "l0"
    ingest(img16_night.first_file, l0_dir, SETTINGS)
    remount(ext4.place, "ro")
    assert_one_line(convert(img16_night.run, l0_dir, config), "Read-only file system")
    assert img16_night.assert_readable(l0_dir) == 45
    remount(ext4.place, "rw")
    assert convert(img16_night.run, l0_dir, config).returncode == 0
    img16_night.assert_finished(l0_dir)


@pytest.mark.parametrize("step", ["chunk.read", "chunk.durable", "create.begun"])
def test_a_disk_that_makes_itself_read_only(night, ext4, step):
    """As ext4 does when it finds itself damaged, in the middle of an append."""
    l0_dir = ext4.place / "l0"
    l0_dir.mkdir()
    after_commits = 0 if step == "create.begun" else 2
    with IngestProcess(
        run=night.run, l0_dir=l0_dir, settings=SMALL_CHUNKS, holds=[hold(step, after_commits)]
    ) as process:
        process.wait_until_held()
        ext4.fail()
        process.release()
        told = process.finish()
    assert told["failed"] == "TransientIOError"
    ext4.start_again()
    l0_dir.mkdir(exist_ok=True)
    night.assert_readable(l0_dir, at_least=max(process.commits, default=0))
    night.finish(l0_dir)


STAGED = ("fsync", 3, None)
"""The task's third; the coordinator's first two come when it opens a store that exists."""
NEW_STORE = (
    ("fsync", 1, None),
    ("fsync", 1, ".{name}.new/images/zarr.json"),
    ("fsync", 1, ".{name}.new/headers/pkt_num/c"),
    ("fsync", 1, ".{name}.new/zarr.json"),
    ("fsync", 1, ".{name}.new"),
    ("fsync", 1, ""),
    ("getdents64", 1, ".{name}.new/images"),
    ("rename,renameat,renameat2", 1, None),
    ("mkdirat", 5, None),
    ("writev", 1, None),
)
OLD_STORE = (
    ("fsync", 1, "{name}"),
    ("fsync", 1, ""),
    STAGED,
    ("fsync", 1, "{name}/images/c"),
    ("fsync", 2, "{name}/headers/pkt_num/c"),
    ("fsync", 1, ".staging/{name}/documents/0"),
    ("fsync", 1, "{name}/images"),
    ("fsync", 2, ".staging/{name}/documents/0"),
    ("fsync", 2, "{name}"),
    ("renameat,renameat2", 5, None),
    ("renameat,renameat2", 15, None),
    ("writev", 2, ".staging/{name}/documents/0"),
)


def fail_a_call(night, l0_dir, call, when, path):
    """Have a system call fail with EIO, on a path or on any; return what is told at last."""
    words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}"]
    if path is not None:
        words += ["-P", str(l0_dir / path.format(name=night.name))]
    words += ["-e", f"inject={call}:error=EIO:when={when}"]
    with IngestProcess(
        before=words, run=night.run, l0_dir=l0_dir, settings=SMALL_CHUNKS
    ) as process:
        return process.finish(), max(process.commits, default=0)


@pytest.mark.parametrize(("call", "when", "path"), NEW_STORE)
def test_a_call_that_fails_in_a_new_store(night, place, call, when, path):
    """An I/O error anywhere ends the ingest, commits nothing, and leaves nothing behind."""
    require_strace()
    l0_dir = place / "l0"
    l0_dir.mkdir()
    told, n_told = fail_a_call(night, l0_dir, call, when, path)
    assert told["failed"] == "TransientIOError"
    assert "Input/output error" in told["message"]
    assert n_told == 0
    night.assert_readable(l0_dir)
    assert {file.suffix for file in l0_dir.iterdir()} <= {".zarr", ".lock"}
    night.finish(l0_dir)


@pytest.mark.parametrize(("call", "when", "path"), OLD_STORE)
def test_a_call_that_fails_in_a_store_that_opens_again(night, place, call, when, path):
    """What was committed stays; the ingest that follows comes to the same end."""
    require_strace()
    l0_dir = place / "l0"
    n_first = ingest(night.first_file, l0_dir, SETTINGS).n_frames
    told, n_told = fail_a_call(night, l0_dir, call, when, path)
    assert told["failed"] == "TransientIOError"
    assert "Input/output error" in told["message"]
    night.assert_readable(l0_dir, at_least=max(n_first, n_told))
    assert {file.suffix for file in l0_dir.iterdir()} == {".zarr", ".lock"}
    night.finish(l0_dir)


def rebuild_with(night, l0_dir, *effects, path=None):
    """Rebuild a store while system calls fail or kill; return what is told next, if anything."""
    words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=rename,renameat2"]
    words += ["-P", path] if path else []
    for effect in effects:
        words += ["-e", f"inject={effect}"]
    with IngestProcess(
        before=words, run=night.run, l0_dir=l0_dir, settings=SMALL_CHUNKS, rebuild=True
    ) as process:
        return process.wait_or_die()


def test_a_rebuild_that_cannot_take_its_place(night, place):
    """The old store stays, and the error is a declared one."""
    require_strace()
    l0_dir = place / "l0"
    ingest(night.run, l0_dir, SETTINGS)
    assert rebuild_with(night, l0_dir, "renameat2:error=EIO")["failed"] == "TransientIOError"
    night.assert_finished(l0_dir)


def made_store(night, place):
    """Make a store; return its directory, its id, and where a rebuild makes the new one."""
    require_strace()
    l0_dir = place / "l0"
    ingest(night.run, l0_dir, SETTINGS)
    store_id = read_state(l0_dir / night.name).store_id
    return l0_dir, store_id, str(l0_dir / f".{night.name}.rebuilt")


def test_a_rebuild_that_fails_between_two_renames(night, place):
    """Where names cannot be exchanged, an error in that moment loses neither store."""
    l0_dir, id_before, hidden = made_store(night, place)
    told = [
        rebuild_with(
            night, l0_dir, "renameat2:error=EINVAL", f"rename:error=EIO:when={when}", path=hidden
        )
        for when in (1, 2)  # as below
    ]
    assert any("taking the store's place failed" in one.get("message", "") for one in told)
    if all("failed" in one for one in told):
        assert read_state(l0_dir / night.name).store_id == id_before
    night.assert_finished(l0_dir)


def test_a_rebuild_where_names_cannot_be_exchanged(night, place):
    """The old store is put aside first; killed in that moment, the next start puts it back."""
    l0_dir, id_before, hidden = made_store(night, place)
    for when in (1, 2):  # some versions of strace see the second name of a rename, some do not
        killed = ("renameat2:error=EINVAL", f"rename:signal=SIGKILL:when={when}")
        assert rebuild_with(night, l0_dir, *killed, path=hidden) is None
        if not (l0_dir / night.name).exists():
            break
    assert not (l0_dir / night.name).exists()
    night.finish(l0_dir)
    assert read_state(l0_dir / night.name).store_id == id_before
    assert "done" in rebuild_with(night, l0_dir, "renameat2:error=EINVAL")
    assert read_state(l0_dir / night.name).store_id != id_before
    night.assert_finished(l0_dir)
