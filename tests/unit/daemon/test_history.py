"""The events that the service keeps for the case that an invariant is violated."""

from __future__ import annotations

from support.state_driver import IMG, ROOT, RUN, Driver, entry, outputs, stream

from panoseti_zarr.daemon import history
from panoseti_zarr.daemon.history import N_FILES, History, load, main, replay
from panoseti_zarr.daemon.state.events import (
    Connected,
    OutputsChecked,
    RootScanned,
    RunScanned,
    Started,
    Tick,
)
from panoseti_zarr.daemon.state.machine import ServiceStateMachine
from panoseti_zarr.daemon.state.records import StreamStatus
from panoseti_zarr.daemon.state.settings import Settings

FINISHED = ("run_complete",)


def keep(machine: ServiceStateMachine, kept: History, *events: object) -> None:
    """Handle events as the service does."""
    for event in events:
        kept.record(event)
        machine.handle(event)


def busy_machine() -> tuple[ServiceStateMachine, History]:
    """Return a machine with a running job, and its history."""
    machine = ServiceStateMachine(Settings(settle_s=0))
    kept = History(machine)
    scan = RootScanned(2.0, ROOT, "", "raw", 5, 1, (entry(),))
    seen = (stream(),)
    keep(
        machine,
        kept,
        Started(0.0, (ROOT,)),
        Connected(1.0, 2),
        OutputsChecked(1.5, outputs()),
        scan,
        RunScanned(3.0, RUN, 3.0, "d1", 1, FINISHED, seen, outputs=outputs()),
    )
    assert machine.runs[RUN].streams[IMG].status is StreamStatus.INGESTING
    return machine, kept


def test_a_saved_history_leads_to_the_same_state(tmp_path):
    """Read from its file and replayed: the same records, the same jobs."""
    machine, kept = busy_machine()
    saved = load(kept.save(tmp_path, "a test"))
    *_, (event, instructions, replayed) = replay(saved)
    assert isinstance(event, RunScanned)
    assert instructions
    assert (replayed.runs, replayed.roots) == (machine.runs, machine.roots)
    assert replayed.job_queue.running == machine.job_queue.running == {(RUN, IMG)}


def test_the_last_events_are_kept_from_a_checkpoint_on(monkeypatch):
    """Between once and twice as many as lie between two checkpoints; all can be replayed."""
    monkeypatch.setattr(history, "N_EVENTS", 10)
    machine, kept = busy_machine()
    for number in range(100):
        keep(machine, kept, Tick(10.0 + number))
        n_kept = len(kept.saved("").events)
        assert 10 <= n_kept <= 20 or n_kept == 6 + number
    saved = kept.saved("a test")
    assert saved.events[-1] == Tick(109.0)
    *_, (_, _, replayed) = replay(saved)
    assert (replayed.runs, replayed.roots) == (machine.runs, machine.roots)


def test_a_start_does_not_change_what_the_event_holds():
    """The runs of the ledger are copied: a replay begins with them as they were."""
    known = Driver()
    known.listed(stream())
    runs = tuple(known.state.runs.values())
    machine = ServiceStateMachine(Settings())
    started = Started(0.0, (ROOT,), runs)
    machine.handle(started)
    assert runs[0].streams[IMG].status is StreamStatus.INGESTING
    assert machine.runs[RUN].streams[IMG].status is StreamStatus.WAITING


def test_old_files_are_deleted(tmp_path):
    """A service that fails again and again does not fill its disk."""
    _, kept = busy_machine()
    for day in range(10):
        (tmp_path / f"history-2024010{day}T000000Z.pickle.gz").touch()
    newest = kept.save(tmp_path, "a test")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert len(left) == N_FILES
    assert left[-1] == newest.name


def test_the_command_shows_where_an_invariant_breaks(tmp_path, capsys):
    """Each event with its instructions; then what is violated, and exit code 1."""
    machine, kept = busy_machine()
    path = str(kept.save(tmp_path, "it broke"))
    assert main(path) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[0].endswith(": it broke")
    assert "StartIngest(target=JobTarget" in shown
    machine.job_queue.running.clear()
    broken = History(machine)
    keep(machine, broken, Tick(4.0))
    assert main(str(broken.save(tmp_path, "it broke"))) == 1
    assert "violated: " in capsys.readouterr().out
