"""When a run is finished: the rule, without a disk or a clock."""

import pytest

from panoseti_zarr.daemon.state.readiness import (
    StablePeriod,
    assess_readiness,
    fingerprint,
    observe,
)
from panoseti_zarr.model import Identity

MARKERS = ("collect_complete", "run_complete")
FILE = Identity(inode=7, size_bytes=100, mtime_ns=5, ctime_ns=6)


def seen(*looks: tuple[str, float]) -> StablePeriod:
    """Fold looks, (digest, time), that take no time themselves."""
    quiet = None
    for digest, at_s in looks:
        quiet = observe(quiet, digest, at_s, at_s)
    assert quiet is not None
    return quiet


def test_one_look_finishes_nothing() -> None:
    """A marker and a single look are not enough, however old the files are."""
    assert not assess_readiness(seen(("a", 0.0)), ("run_complete",), MARKERS, 10, 0).is_finished


def test_two_looks_settle_s_apart_finish_a_marked_run() -> None:
    """With a marker, two equal looks at least settle_s apart finish the run."""
    assert assess_readiness(
        seen(("a", 0.0), ("a", 10.0)), ("run_complete",), MARKERS, 10, 0
    ).is_finished


def test_two_looks_too_close_do_not() -> None:
    """Equal looks closer than settle_s say how long is missing, and when to look again."""
    verdict = assess_readiness(seen(("a", 0.0), ("a", 9.9)), ("run_complete",), MARKERS, 10, 0)
    assert not verdict.is_finished
    assert "9.9 s of 10 s" in verdict.reason
    assert verdict.rescan_interval_s == 10.0


def test_a_change_starts_the_time_again() -> None:
    """The quiet time counts from the first look that saw the present files."""
    quiet = seen(("a", 0.0), ("b", 8.0), ("b", 17.0))
    verdict = assess_readiness(quiet, ("run_complete",), MARKERS, 10, 0)
    assert not verdict.is_finished
    assert verdict.rescan_interval_s == 18.0


def test_a_change_back_starts_the_time_again_too() -> None:
    """Files that changed and came back were not unchanged."""
    quiet = seen(("a", 0.0), ("b", 8.0), ("a", 12.0))
    assert not assess_readiness(quiet, ("run_complete",), MARKERS, 10, 0).is_finished


def test_the_time_that_looks_take_does_not_count() -> None:
    """Quiet time runs from the end of the first look to the beginning of the last."""
    quiet = observe(observe(None, "a", 0.0, 6.0), "a", 12.0, 20.0)
    assert quiet.seconds == 6.0
    assert not assess_readiness(quiet, ("run_complete",), MARKERS, 10, 0).is_finished


def test_no_marker_is_never_finished_by_settling() -> None:
    """Without a marker nothing but a change finishes a run; the reason names the markers."""
    verdict = assess_readiness(seen(("a", 0.0), ("a", 1e9)), (), MARKERS, 10, 0)
    assert not verdict.is_finished
    assert verdict.rescan_interval_s is None
    assert "collect_complete, run_complete" in verdict.reason


def test_quiet_s_finishes_without_a_marker() -> None:
    """quiet_s > 0 finishes a run in which nothing changed for that long."""
    assert assess_readiness(seen(("a", 0.0), ("a", 300.0)), (), MARKERS, 10, 300).is_finished
    verdict = assess_readiness(seen(("a", 0.0), ("a", 299.0)), (), MARKERS, 10, 300)
    assert not verdict.is_finished
    assert verdict.rescan_interval_s == 300.0


@pytest.mark.parametrize(
    "change",
    [
        {"inode": 8},
        {"size_bytes": 101},
        {"mtime_ns": 6},
        {"ctime_ns": 7},
    ],
)
def test_every_part_of_an_identity_counts(change: dict[str, int]) -> None:
    """Inode, size, mtime and ctime each change the digest."""
    other = Identity(**{**FILE.__dict__, **change})
    assert fingerprint({"x": FILE}) != fingerprint({"x": other})


def test_names_and_the_directory_count() -> None:
    """A renamed file and a name that came and went change the digest; the order does not."""
    assert fingerprint({"x": FILE}) != fingerprint({"y": FILE})
    assert fingerprint({"x": FILE}, 1) != fingerprint({"x": FILE}, 2)
    assert fingerprint({"x": FILE, "y": FILE}) == fingerprint({"y": FILE, "x": FILE})


def test_a_name_that_is_not_utf_8_has_a_digest() -> None:
    """Lone surrogates stand for raw bytes in names."""
    assert fingerprint({"\udcff": FILE}) != fingerprint({"\udcfe": FILE})
