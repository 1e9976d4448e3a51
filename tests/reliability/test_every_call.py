"""Every system call that changes the disk: killed before it, or failing. Minutes: ``--long``."""

import shutil

import pytest
from nights import SETTINGS, make_night
from processes import SMALL_CHUNKS, IngestProcess
from support.stores import ingest
from traces import require_strace

CALLS = ("fsync", "rename", "renameat", "mkdir", "mkdirat", "rmdir", "unlinkat",
         "write", "writev", "flock", "ftruncate", "pwrite64")  # fmt: skip

TIDYING = {"unlinkat"}
"""Of what lies hidden and is swept at the next start, where it fails."""

pytestmark = [pytest.mark.usefixtures("long_form"), pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def long_form(request):
    if not request.config.getoption("long", False):
        pytest.skip("takes 20 minutes in all (make reliability)")
    require_strace()


@pytest.fixture(scope="module")
def short_night(memory_dir):
    """Three files, three chunks."""
    return make_night(memory_dir / "every_call", n_frames=22, files_of=10)


def before_store(night, l0_dir, scenario):
    """Make what is there before; return the frames that readers see of it."""
    l0_dir.mkdir()
    if scenario == "new":
        return 0
    return ingest(night.first_file, l0_dir, SETTINGS).n_frames


def strace(call, effect, when):
    return ("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
            "-e", f"inject={call}:{effect}:when={when}")  # fmt: skip


@pytest.mark.parametrize("scenario", ["new", "reopened"])
@pytest.mark.parametrize("call", CALLS)
def test_killed_before_each_call(short_night, place, call, scenario, count):
    """Killed before the first, the second, … call of a kind in a thread, until none is left."""
    n_kills, is_over = 0, False
    while not is_over:
        l0_dir = place / f"l0_{n_kills}"
        n_before = before_store(short_night, l0_dir, scenario)
        with IngestProcess(
            before=strace(call, "signal=SIGKILL", n_kills + 1),
            run=short_night.run,
            l0_dir=l0_dir,
            settings=SMALL_CHUNKS,
        ) as process:
            is_over = process.wait_or_die() == {"done": {"n_frames": 22, "changed": True}}
        n_told = max([n_before, *process.commits])
        short_night.assert_readable(l0_dir, at_least=n_told)
        short_night.finish(l0_dir)
        shutil.rmtree(l0_dir)
        n_kills += not is_over
    count(n_kills=n_kills)
    assert n_kills > 0


@pytest.mark.parametrize("scenario", ["new", "reopened"])
@pytest.mark.parametrize("call", [call for call in CALLS if call != "write"])
def test_each_call_fails(short_night, place, call, scenario, count):
    """Each call of a kind fails once; the ingest says so or does without, and nothing is wrong."""
    n_failed = n_fine = 0
    when = 1
    while n_fine < 10:
        l0_dir = place / f"l0_{when}"
        n_before = before_store(short_night, l0_dir, scenario)
        with IngestProcess(
            before=strace(call, "error=EIO", when),
            run=short_night.run,
            l0_dir=l0_dir,
            settings=SMALL_CHUNKS,
        ) as process:
            told = process.finish()
        if "failed" in told:
            assert told["failed"] == "TransientIOError", (when, told)
            n_failed, n_fine = n_failed + 1, 0
        else:
            n_fine += 1
        n_told = max([n_before, *process.commits])
        short_night.assert_readable(l0_dir, at_least=n_told)
        short_night.finish(l0_dir)
        shutil.rmtree(l0_dir)
        when += 1
    count(n_failed=n_failed)
    assert n_failed > 0 or call in TIDYING
