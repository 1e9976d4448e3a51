"""When an open stream has its next round, and what becomes of it. Pure."""

from dataclasses import replace

import pytest
from support.state_driver import IMG, PH, RUN, SETTINGS, Driver, entry, logged, started, stream

from panoseti_zarr.core.pff.growth import Growth
from panoseti_zarr.daemon.state.events import (
    AppendEnded,
    Outcome,
    RetryRequested,
    RootScanned,
    Tick,
)
from panoseti_zarr.daemon.state.instructions import ScanRun, StartAppend, StartIngest, StartL1
from panoseti_zarr.daemon.state.records import StreamStatus

FOLLOWING = replace(SETTINGS, follow=True, tail_flush_s=30.0)
CHUNK_BYTES = 1000


class Recorder(Driver):
    """A machine that follows one run, whose files grow."""

    def __init__(self, **settings) -> None:
        super().__init__(replace(FOLLOWING, **settings))
        self.root(entry())
        self.n_looks = 0

    def grow(self, after_s=0.0, **sizes):
        """Look at the run; sizes are of ``img`` and ``ph``. Return the rounds that start."""
        keys = {"img": IMG, "ph": PH}
        n_files = sizes.pop("n_files", 1)
        self.n_looks += 1
        growth = tuple(
            Growth(keys[name], size, n_files, self.n_looks) for name, size in sizes.items()
        )
        digest = f"look {self.n_looks}"
        return rounds(self.look(digest=digest, markers=(), growth=growth, after_s=after_s))

    def round(self, key=IMG, after_s=0.0, **how):
        """End a round. Return the rounds that start."""
        fields = {"outcome": Outcome.DONE, "next_chunk_bytes": CHUNK_BYTES, **how}
        return self.send(AppendEnded, after_s=after_s, run=RUN, stream=key, **fields)

    def pass_time(self, after_s):
        """Let time pass, all disks well. Return the rounds that start."""
        return rounds(self.send(Tick, after_s=after_s) + self.outputs())


def rounds(instructions):
    """Return stream and tail of the rounds that start."""
    return [(i.target.stream, i.with_tail) for i in instructions if isinstance(i, StartAppend)]


def test_a_stream_opens_with_its_first_bytes():
    """Empty files are no stream; the first bytes are shown at once."""
    recorder = Recorder()
    assert recorder.grow(img=0) == []
    assert recorder.state.runs[RUN].streams == {}
    assert recorder.grow(img=10, ph=0) == [(IMG, True)]
    assert recorder.status() is StreamStatus.FOLLOWING
    assert recorder.state.runs[RUN].state == "recording"
    recorder.round()
    assert recorder.status() is StreamStatus.OPEN


def test_nothing_is_followed_where_it_is_not_asked_for():
    """By default a run waits until it is finished."""
    recorder = Recorder(follow=False)
    assert recorder.grow(img=10) == []


def test_the_tail_is_shown_every_tail_flush_s():
    """Between two tails only what fills a chunk starts a round; nothing new starts none."""
    recorder = Recorder()
    recorder.grow(img=10)
    recorder.round(after_s=1)
    assert recorder.grow(img=500, after_s=5) == []
    assert recorder.pass_time(23.5) == []
    assert recorder.pass_time(0.5) == [(IMG, True)]
    recorder.round()
    assert recorder.pass_time(100) == []
    assert recorder.grow(img=501) == [(IMG, True)]


def test_frames_that_were_not_shown_are_shown_with_the_next_tail():
    """A flush may end with an inner chunk: the rest follows, also where no frame came since."""
    recorder = Recorder()
    recorder.grow(img=10)
    recorder.round(n_pending_frames=5)
    assert recorder.pass_time(29) == []
    assert recorder.pass_time(1) == [(IMG, True)]


def test_a_chunk_that_has_filled_is_appended_at_once():
    """Without the tail behind it, and once for each size."""
    recorder = Recorder()
    recorder.grow(img=10)
    recorder.round()
    assert recorder.grow(img=CHUNK_BYTES + 5, after_s=4) == [(IMG, False)]
    recorder.round(next_chunk_bytes=CHUNK_BYTES)
    assert recorder.pass_time(4) == []
    assert recorder.grow(img=CHUNK_BYTES + 6, after_s=4) == [(IMG, False)]


def test_another_file_that_can_be_read_is_shown_at_once():
    """The last frame of a file and the first of the next do not wait for the next flush."""
    recorder = Recorder()
    recorder.grow(img=10)
    recorder.round()
    assert recorder.grow(img=20, n_files=2, after_s=4) == [(IMG, True)]


def test_rounds_have_places_of_their_own():
    """Not more than max_streams at once; those first that wait for the longest."""
    recorder = Recorder(max_streams=1)
    assert recorder.grow(img=10, ph=10) == [(IMG, True)]
    assert rounds(recorder.round(after_s=1)) == [(PH, True)]
    recorder.round(PH, after_s=1)
    recorder.grow(img=20, ph=20, after_s=1)
    assert recorder.pass_time(27) == [(IMG, True)]
    assert recorder.pass_time(5) == []
    assert rounds(recorder.round()) == [(PH, True)]


def test_the_end_of_a_recording():
    """Once it is finished its streams are queued, closed and subtracted as those of any run."""
    recorder = Recorder()
    recorder.grow(img=10)
    recorder.round()
    assert started(recorder.listed(stream(digest="f2"))) == [(RUN, IMG)]
    recorder.ingested()
    assert "run.completed" in logged(recorder.l1_made())


def test_a_round_under_way_when_the_run_is_finished():
    """The stream is queued as soon as its round has ended."""
    recorder = Recorder()
    recorder.grow(img=10)
    recorder.listed(stream())
    assert recorder.status() is StreamStatus.FOLLOWING
    out = recorder.round()
    assert logged(out) == ["stream.queued"]
    assert started(out) == [(RUN, IMG)]


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.CORRUPT])
def test_a_round_that_failed_is_tried_again(outcome):
    """A disk may be full at present; and what is read in the middle of a change is right later."""
    recorder = Recorder()
    recorder.grow(img=10)
    out = recorder.round(outcome=outcome, reason="x")
    assert logged(out) == ["stream.postponed"]
    assert recorder.pass_time(4) == []
    assert recorder.pass_time(1) == [(IMG, True)]


def test_a_difference_that_stays_is_quarantined():
    """After some rounds; the others go on, and a finished run whose files changed tries again."""
    recorder = Recorder()
    recorder.grow(img=10, ph=10)
    recorder.round(PH)
    told = []
    for _ in range(3):
        told += logged(recorder.round(outcome=Outcome.CORRUPT, reason="x"))
        recorder.pass_time(15)
    assert told == ["stream.postponed", "stream.postponed", "stream.quarantined"]
    assert recorder.grow(img=20, ph=20) == [(PH, True)]
    recorder.round(PH)
    assert started(recorder.listed(stream(), stream(PH))) == [(RUN, IMG), (RUN, PH)]


def test_only_rounds_that_differ_count_to_quarantine():
    """A disk that fails at present takes no attempt away from a stream whose files change."""
    recorder = Recorder()
    recorder.grow(img=10)
    told = []
    for outcome in (Outcome.FAILED, Outcome.FAILED, Outcome.CORRUPT, Outcome.CORRUPT, Outcome.DONE):
        told += logged(recorder.round(outcome=outcome, reason="x"))
        recorder.grow(img=20, after_s=60)
    assert told == ["stream.postponed"] * 4
    assert logged(recorder.round(outcome=Outcome.CORRUPT, reason="x")) == ["stream.postponed"]


def test_a_stream_that_is_gone_holds_up_no_other():
    """It has no round until its files are seen again."""
    recorder = Recorder(max_streams=1)
    assert recorder.grow(img=10, ph=10) == [(IMG, True)]
    assert rounds(recorder.round(outcome=Outcome.MISSING)) == [(PH, True)]
    assert rounds(recorder.round(PH)) == []
    assert recorder.grow(img=0, ph=20, after_s=30) == [(PH, True)]
    assert rounds(recorder.round(PH)) == []
    assert recorder.grow(img=30, ph=20) == [(IMG, True)]


def test_a_rebuild_waits_for_the_end_of_the_recording():
    """A stream that is to be made again is not appended to meanwhile."""
    recorder = Recorder()
    recorder.grow(img=10)
    recorder.round()
    recorder.send(RetryRequested, run=RUN, rebuild=True)
    assert recorder.grow(img=20, after_s=100) == []
    (job,) = (i for i in recorder.listed(stream()) if isinstance(i, StartIngest))
    assert job.rebuild


def test_a_run_that_changes_after_its_end_waits_to_be_finished_again():
    """What is closed is not followed: it opens again when the run is finished again."""
    recorder = Recorder()
    recorder.listed(stream())
    recorder.ingested()
    assert [i for i in recorder.l1_made() if isinstance(i, StartL1)] == []
    assert recorder.grow(img=20, after_s=100) == []
    assert recorder.state.runs[RUN].is_settling
    assert recorder.status() is StreamStatus.DONE


def test_looks_at_a_recording():
    """They are close while it grows, and rare once it rests."""
    recorder = Recorder()
    recorder.grow(img=10)
    (look,) = (i for i in recorder.send(Tick, after_s=3) if isinstance(i, ScanRun))
    assert look.run == RUN
    waits = []
    for _ in range(12):
        growth = (Growth(IMG, 10, 1, 1),)
        recorder.look(digest="same", markers=(), growth=growth)
        due_s = recorder.state._discovery.next_due_s()
        waits.append(due_s - recorder.now_s)
        recorder.send(Tick, after_s=waits[-1])
    assert waits[0] == 3
    assert max(waits) > 2 * waits[0]


def test_a_recording_that_vanishes():
    """Its streams are removed: what was appended stays, open."""
    recorder = Recorder()
    recorder.grow(img=10)
    recorder.round()
    out = recorder.send(RootScanned, root="/data", volume="raw", device=5, n_entries=1, runs=())
    assert "run.removed" in logged(out)
    assert recorder.status() is StreamStatus.REMOVED


def test_a_recording_that_vanishes_in_a_round():
    """Its stream is removed when the round has ended, and nothing is queued."""
    recorder = Recorder()
    recorder.grow(img=10)
    recorder.send(RootScanned, root="/data", volume="raw", device=5, n_entries=1, runs=())
    assert logged(recorder.round(outcome=Outcome.MISSING)) == []
    assert recorder.status() is StreamStatus.REMOVED
