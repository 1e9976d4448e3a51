"""SIGKILL at every step of an L1 store's making: it is the old one or the new one, never half."""

import shutil

import pytest
from ingest_process import subtract
from processes import IngestProcess, hold
from subtractions import AFTER_SWAP, BEFORE_SWAP
from traces import require_strace

from panoseti_zarr.daemon.state.events import Outcome

MOVED = "l1_chunk.moved"


def l1_process(subtraction, place, step, n_before=0, before=()):
    """Start a process that makes the store, on a copy of the old one, and stops at a step."""
    l1_dir = place / "l1"
    if not l1_dir.exists() and subtraction.old:
        shutil.copytree(subtraction.old.parent, l1_dir)
    holds = [hold(step, n_before=n_before)]
    return l1_dir, IngestProcess(before=before, subtract=subtraction.l0, l1_dir=l1_dir, holds=holds)


def kill_at(subtraction, place, step, n_before=0):
    """Kill a process at a step, check what readers find then, and return the directory."""
    l1_dir, process = l1_process(subtraction, place, step, n_before)
    with process:
        assert process.wait_until_held() == step
    assert_seen(subtraction, l1_dir, step)
    return l1_dir


def assert_seen(subtraction, l1_dir, step):
    if step in AFTER_SWAP:
        subtraction.assert_new(l1_dir)
    else:
        subtraction.assert_old(l1_dir)


@pytest.mark.parametrize("step", [*BEFORE_SWAP, *AFTER_SWAP])
def test_a_store_is_made(first_l1, place, step):
    """Killed, started again: the store is the undisturbed one, made once, and nothing else lies."""
    l1_dir = kill_at(first_l1, place, step)
    first_l1.finish(l1_dir, changes=step not in AFTER_SWAP)


@pytest.mark.parametrize(
    ("step", "n_before"), [*((step, 0) for step in (*BEFORE_SWAP, *AFTER_SWAP)), (MOVED, 6)]
)
def test_a_store_is_made_again(remade_l1, place, step, n_before):
    """Its commit changed: readers find the old store, whole, until they find the new one."""
    l1_dir = kill_at(remade_l1, place, step, n_before)
    remade_l1.finish(l1_dir, changes=step not in AFTER_SWAP)


@pytest.mark.parametrize("step", ["swap.put_aside", "swap.in_place"])
def test_where_names_cannot_be_exchanged(remade_l1, place, step):
    """The old store is put aside for a moment; killed then, it comes back or the new one stays."""
    require_strace()
    l1_dir, process = l1_process(remade_l1, place, step, before=no_exchange())
    with process:
        assert process.wait_until_held() == step
    assert (l1_dir / f".{remade_l1.name}.old").exists()
    if step == "swap.put_aside":
        assert not (l1_dir / remade_l1.name).exists()
    else:
        remade_l1.assert_new(l1_dir)
    remade_l1.finish(l1_dir, changes=step not in AFTER_SWAP)


def no_exchange():
    return ("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=renameat2",
            "-e", "inject=renameat2:error=EINVAL")  # fmt: skip


def test_a_crash_while_a_crash_is_mended(remade_l1, place):
    """A start that is killed in its turn leaves nothing worse behind."""
    for step in ("l1.durable", "l1.begun", MOVED, "l1.swept"):
        l1_dir = kill_at(remade_l1, place, step)
    remade_l1.finish(l1_dir, changes=True)


def test_what_another_process_makes_is_left_to_it(remade_l1, place):
    """A job that finds a matching store while another process makes it again does not wait."""
    l1_dir, process = l1_process(remade_l1, place, "swap.in_place")
    with process:
        process.wait_until_held()
        ended = subtract(remade_l1.l0, l1_dir)
        assert (ended.outcome, ended.is_changed) == (Outcome.DONE, False)
        process.release()
        assert process.finish()["done"] == {"outcome": "done", "changed": True}
    remade_l1.finish(l1_dir, changes=False)
