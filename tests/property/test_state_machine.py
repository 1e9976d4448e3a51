"""Every order of notices, looks, results, losses and restarts, against a simple world.

The world holds runs with streams (a version each, which stands for their files), L0 stores (the
version that was ingested) and L1 stores (the close that they were made of). Hypothesis answers
the machine's instructions in any order, changes the world meanwhile, and restarts the machine
from what it saved, or from nothing. Whatever happened: once the world rests, everything that can
be done is done.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.effort import examples

from panoseti_zarr.core.pff.growth import Growth
from panoseti_zarr.daemon.history import History, replay
from panoseti_zarr.daemon.state.events import (
    AppendEnded,
    ChangeHint,
    CheckedOutput,
    Connected,
    Event,
    IngestEnded,
    L1Ended,
    Outcome,
    OutputsChecked,
    RetryRequested,
    RootScanned,
    RunEntry,
    RunScanned,
    ScannedStream,
    Started,
    StoreComparison,
    Tick,
)
from panoseti_zarr.daemon.state.instructions import (
    AbandonTasks,
    CheckOutputs,
    Instruction,
    JobTarget,
    SaveRun,
    ScanRoot,
    ScanRun,
    StartAppend,
    StartIngest,
    StartL1,
)
from panoseti_zarr.daemon.state.machine import ServiceStateMachine
from panoseti_zarr.daemon.state.records import SETTLED, Run, Stream, StreamStatus
from panoseti_zarr.daemon.state.settings import Settings

ROOTS = ("/a", "/b")
NAMES = ("one.pffd", "two.pffd", "three.pffd")
KEYS = ("dp_img16.module_1", "dp_ph256.module_1")
SETTINGS = Settings(
    settle_s=10, rescan_s=60, recheck_s=600, max_streams=2, max_l1=1, retry_most_s=40
)
MARKER = ("run_complete",)
JOBS = StartIngest | StartAppend | StartL1


@dataclass
class WorldRun:
    """A run directory: a version for each stream, 0 for one without files."""

    root: str
    exists: bool = True
    is_marked: bool = False
    generation: int = 0
    versions: dict[str, int] = field(default_factory=dict)
    corrupt: set[str] = field(default_factory=set)


class Service(RuleBasedStateMachine):
    """The machine under test, and its world."""

    settings = SETTINGS

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.world: dict[str, WorldRun] = {}
        self.born_s: dict[tuple[str, str, int], float] = {}
        self.l0: dict[tuple[str, str], int] = {}
        self.closes: dict[tuple[str, str], int] = {}
        self.l1: dict[tuple[str, str], int] = {}
        self.recorded: dict[tuple[str, str], int] = {}
        self.ledger: dict[str, Run] = {}
        self.mounted = dict.fromkeys(ROOTS, True)
        self.is_disk_full = False
        self.has_lost_l0 = False
        self.has_hung = False
        self.open: list[Instruction] = []
        self.began_s: dict[int, float] = {}
        self.performed: dict[int, tuple[type[Any], dict[str, Any]]] = {}

    @initialize(n_turns=st.integers(0, 6))
    def start(self, n_turns: int) -> None:
        for name in NAMES[:2]:
            self.make_run(name, ROOTS[0], is_marked=True)
        self.restart(with_ledger=False)
        self.live(n_turns)

    def send(self, kind: type[Any], **fields: Any) -> None:
        event: Event = kind(now_s=self.now_s, **fields)
        self.history.record(event)
        instructions = self.state.handle(event)
        self.state.validate()
        for instruction in instructions:
            if isinstance(instruction, SaveRun):
                self.ledger[instruction.run] = copy.deepcopy(self.state.runs[instruction.run])
            elif isinstance(
                instruction,
                ScanRoot | ScanRun | CheckOutputs | StartIngest | StartAppend | StartL1,
            ):
                if isinstance(instruction, StartIngest):
                    self.check_that_it_was_finished(instruction)
                elif isinstance(instruction, StartAppend):
                    assert self.settings.follow
                    assert self.state.runs[instruction.target.run].is_settling
                self.open.append(instruction)
                self.began_s[id(instruction)] = self.now_s
            elif isinstance(instruction, AbandonTasks):
                self.has_hung = True

    def check_that_it_was_finished(self, job: StartIngest) -> None:
        """No job starts on files that a marker was not seen with, or that did not rest."""
        assert self.world[job.target.run].root == job.target.root
        if job.digest:
            born_s = self.born_s[job.target.run, job.target.stream, int(job.digest)]
            assert self.now_s - born_s >= SETTINGS.settle_s

    def touch(self, run: WorldRun) -> None:
        run.generation += 1

    # The world changes ---------------------------------------------------------------------

    @rule(name=st.sampled_from(NAMES), root=st.sampled_from(ROOTS), is_marked=st.booleans())
    def make_run(self, name: str, root: str, is_marked: bool) -> None:
        if name not in self.world:
            self.world[name] = WorldRun(root, is_marked=is_marked)
            for key in KEYS:
                self.write_file(name, key, corrupt=False)

    @rule(name=st.sampled_from(NAMES), key=st.sampled_from(KEYS), corrupt=st.booleans())
    def write_file(self, name: str, key: str, corrupt: bool) -> None:
        if run := self.world.get(name):
            self.touch(run)
            run.versions[key] = version = run.generation
            self.born_s[name, key, version] = self.now_s
            (run.corrupt.add if corrupt else run.corrupt.discard)(key)

    @rule(name=st.sampled_from(NAMES))
    def write_marker(self, name: str) -> None:
        if run := self.world.get(name):
            self.touch(run)
            run.is_marked = True

    @rule(name=st.sampled_from(NAMES), exists=st.booleans())
    def delete_or_restore_run(self, name: str, exists: bool) -> None:
        if run := self.world.get(name):
            run.exists = exists

    @rule(name=st.sampled_from(NAMES), key=st.sampled_from(KEYS))
    def delete_files(self, name: str, key: str) -> None:
        if (run := self.world.get(name)) and run.versions.pop(key, None):
            self.touch(run)

    @rule(name=st.sampled_from(NAMES), key=st.sampled_from(KEYS))
    def delete_l0(self, name: str, key: str) -> None:
        held = [self.l0.pop((name, key), None), self.recorded.pop((name, key), None)]
        self.has_lost_l0 = held != [None, None] or self.has_lost_l0

    @rule(root=st.sampled_from(ROOTS), mounted=st.booleans())
    def mount(self, root: str, mounted: bool) -> None:
        self.mounted[root] = mounted

    @rule(full=st.booleans())
    def fill_disk(self, full: bool) -> None:
        self.is_disk_full = full

    # The service lives ---------------------------------------------------------------------

    @rule(seconds=st.sampled_from((0.5, 10.0, 60.0, 700.0)))
    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        self.send(Tick)

    @rule(n_turns=st.integers(1, 12), with_jobs=st.booleans())
    def live(self, n_turns: int, with_jobs: bool = True) -> None:
        """Let everything be answered, then time pass until something is due; some times.

        Without jobs: what runs goes on running.
        """
        for _ in range(n_turns):
            for instruction in self.take_open(with_jobs=with_jobs):
                self.answer_one(instruction)
            due_s = self.state.next_due_s(self.now_s)
            assert due_s is not None
            self.now_s = max(self.now_s, due_s)
            self.send(Tick)

    def take_open(self, *, with_jobs: bool) -> list[Instruction]:
        jobs = [] if with_jobs else [i for i in self.open if isinstance(i, JOBS)]
        taken = [i for i in self.open if i not in jobs]
        self.open = jobs
        return taken

    @rule(root=st.sampled_from(ROOTS), name=st.sampled_from((*NAMES, None)))
    def hint(self, root: str, name: str | None) -> None:
        self.send(ChangeHint, root=root, run=name)

    @rule(name=st.sampled_from(NAMES), rebuild=st.booleans())
    def retry(self, name: str, rebuild: bool) -> None:
        self.send(RetryRequested, run=name, rebuild=rebuild)

    @rule(with_ledger=st.booleans(), has_effect=st.booleans())
    def restart(self, with_ledger: bool, has_effect: bool = False) -> None:
        """Kill it: what was under way may have had its effect, or not."""
        for instruction in self.open:
            if isinstance(instruction, JOBS) and has_effect:
                self.perform_one(instruction, fails=False)
        self.open.clear()
        self.performed.clear()
        if not with_ledger:
            self.ledger.clear()
        self.state = ServiceStateMachine(self.settings)
        self.history = History(self.state)
        self.send(Started, roots=ROOTS, runs=tuple(copy.deepcopy(r) for r in self.ledger.values()))
        self.send(Connected, n_slots=2)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), fails=st.booleans())
    def perform(self, data: st.DataObject, fails: bool) -> None:
        """Do what an instruction says; the answer comes later."""
        self.perform_one(data.draw(st.sampled_from(self.open)), fails=fails)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.open) - 1))
        self.answer_one(self.open.pop(index))

    def answer_one(self, instruction: Instruction) -> None:
        self.perform_one(instruction, fails=False)
        kind, fields = self.performed.pop(id(instruction))
        self.send(kind, **fields)

    def perform_one(self, instruction: Instruction, *, fails: bool) -> None:
        if id(instruction) not in self.performed:
            self.performed[id(instruction)] = self.result_of(instruction, fails=fails)

    def result_of(
        self, instruction: Instruction, *, fails: bool
    ) -> tuple[type[Any], dict[str, Any]]:
        match instruction:
            case ScanRoot(root):
                return RootScanned, {"root": root, **self.scan_root(root)}
            case ScanRun(_, name):
                return RunScanned, {"run": name, **self.look(instruction)}
            case CheckOutputs():
                problem = "is full" if self.is_disk_full else ""
                return OutputsChecked, {
                    "outputs": (CheckedOutput("l0_dir", "/l0", problem, device=1),)
                }
            case StartIngest(target=JobTarget(run=name, stream=key)):
                outcome = Outcome.FAILED if fails else self.ingest(instruction)
                kind: type[Any] = IngestEnded
            case StartAppend(target=JobTarget(run=name, stream=key)):
                outcome = Outcome.FAILED if fails else self.record(instruction)
                kind = AppendEnded
            case StartL1(target=JobTarget(run=name, stream=key)):
                outcome = Outcome.FAILED if fails else self.make_l1(name, key)
                kind = L1Ended
        return kind, {"run": name, "stream": key, "outcome": outcome, "reason": "x"}

    # What the shell would see and do -------------------------------------------------------

    def scan_root(self, root: str) -> dict[str, Any]:
        if not self.mounted[root]:
            return {"problem": "is missing"}
        entries = tuple(
            RunEntry(name, run.generation, (0, 0, name), 0)
            for name, run in sorted(self.world.items())
            if run.exists and run.root == root
        )
        # Something else is there too, so that it is never empty.
        return {"runs": entries, "n_entries": len(entries) + 1, "device": 1}

    def look(self, instruction: ScanRun) -> dict[str, Any]:
        run = self.world[instruction.run]
        began_s = self.began_s.pop(id(instruction))
        if not self.mounted[run.root] or not run.exists:
            return {"is_gone": True, "began_s": began_s}
        streams = tuple(
            ScannedStream(key, str(version), *self.stores(instruction.run, key))
            for key, version in sorted(run.versions.items())
        )
        return {
            "began_s": began_s,
            "digest": str(run.generation),
            "directory_mtime_ns": run.generation,
            "markers": MARKER if run.is_marked else (),
            "streams": streams if instruction.with_streams else None,
            "growth": tuple(
                Growth(key, version, 1, version)
                for key, version in sorted(run.versions.items())
                if self.settings.follow
            ),
        }

    def stores(self, name: str, key: str) -> tuple[StoreComparison, bool]:
        if (name, key) in self.recorded:
            return StoreComparison.OPEN, False
        held = self.l0.get((name, key))
        has_l1 = held is not None and self.l1.get((name, key)) == self.closes[name, key]
        if held is None:
            return StoreComparison.ABSENT, False
        same = held == self.world[name].versions[key]
        return (StoreComparison.SAME if same else StoreComparison.DIFFERENT), has_l1

    def ingest(self, job: StartIngest) -> Outcome:
        run = self.world[job.target.run]
        if not (run.exists and self.mounted[run.root] and job.target.stream in run.versions):
            return Outcome.MISSING
        if str(run.versions[job.target.stream]) != job.digest:
            return Outcome.CHANGED
        if job.target.stream in run.corrupt:
            return Outcome.CORRUPT
        place = (job.target.run, job.target.stream)
        was_open = self.recorded.pop(place, None) is not None
        if job.rebuild or was_open or self.l0.get(place) != run.versions[job.target.stream]:
            self.l0[place] = run.versions[job.target.stream]
            self.closes[place] = self.closes.get(place, 0) + 1
        return Outcome.DONE

    def record(self, job: StartAppend) -> Outcome:
        """Append what an open stream has; one that is closed opens again where that is new."""
        run = self.world[job.target.run]
        if not (run.exists and self.mounted[run.root] and job.target.stream in run.versions):
            return Outcome.MISSING
        if job.target.stream in run.corrupt:
            return Outcome.CORRUPT
        if self.l0.get((job.target.run, job.target.stream)) != run.versions[job.target.stream]:
            self.recorded[job.target.run, job.target.stream] = run.versions[job.target.stream]
        return Outcome.DONE

    def make_l1(self, name: str, key: str) -> Outcome:
        if (name, key) not in self.l0:
            return Outcome.MISSING
        self.l1[name, key] = self.closes[name, key]
        return Outcome.DONE

    # What must always hold -----------------------------------------------------------------

    @invariant()
    def one_thing_at_a_time(self) -> None:
        """No stream has two jobs; no root or run has two looks; the limits hold."""
        ingests = [i for i in self.open if isinstance(i, StartIngest)]
        l1s = [i for i in self.open if isinstance(i, StartL1)]
        rounds = [i for i in self.open if isinstance(i, StartAppend)]
        jobs = [(i.target.run, i.target.stream) for i in (*ingests, *rounds, *l1s)]
        looks = [i.run for i in self.open if isinstance(i, ScanRun)]
        scans = [i.root for i in self.open if isinstance(i, ScanRoot)]
        for things in (jobs, looks, scans):
            assert len(things) == len(set(things))
        # Jobs that hang in one root do not count while the other works, and come back.
        assert len(ingests) <= SETTINGS.max_streams * (1 + self.has_hung)
        assert len(rounds) <= SETTINGS.max_streams * (1 + self.has_hung)
        assert len(l1s) <= max(SETTINGS.max_l1, SETTINGS.max_streams)
        assert set(jobs) == self.state.job_queue.running
        for run in self.state.runs.values():
            settled = all(stream.status in SETTLED for stream in run.streams.values())
            assert settled or not run.is_complete

    def teardown(self) -> None:
        """Let the world rest: then all that can be done gets done."""
        if not hasattr(self, "state"):
            return
        self.mounted = dict.fromkeys(ROOTS, True)
        self.is_disk_full = False
        rest_s = (3 if self.has_lost_l0 else 0.8) * SETTINGS.recheck_s
        end_s = self.now_s + rest_s
        n_turns = 0
        while self.now_s < end_s:
            self.live(1)
            n_turns += 1
        assert n_turns <= rest_s + 100
        for name, run in self.world.items():
            if run.exists:
                self.check_run(name, run)
        self.check_replay()

    def check_replay(self) -> None:
        """Events that are kept lead to the same state again, from a checkpoint before them."""
        *_, (_, _, replayed) = replay(self.history.saved("a test"))
        assert (replayed.runs, replayed.roots) == (self.state.runs, self.state.roots)

    def check_run(self, name: str, run: WorldRun) -> None:
        known = self.state.runs[name]
        assert not known.is_removed
        if not run.is_marked:
            assert not known.is_complete
            for key, version in run.versions.items():
                if self.settings.follow:
                    self.check_open_stream(known.streams[key], (name, key), version)
            return
        assert known.is_complete
        for key, version in run.versions.items():
            status = known.streams[key].status
            if status is StreamStatus.QUARANTINED:
                assert key in run.corrupt
            elif status is StreamStatus.REMOVED:
                assert (name, key) not in self.l0
            else:
                assert status is StreamStatus.DONE
                assert (name, key) not in self.recorded
                assert self.l0[name, key] == version
                assert self.l1[name, key] == self.closes[name, key]

    def check_open_stream(self, stream: Stream, place: tuple[str, str], version: int) -> None:
        """What is recorded is appended; what was closed before waits until it is finished."""
        is_corrupt = place[1] in self.world[place[0]].corrupt
        if stream.status is StreamStatus.OPEN:
            held = self.recorded.get(place, self.l0.get(place))
            assert held == version or is_corrupt or self.has_lost_l0
        elif stream.status is StreamStatus.WAITING:
            assert stream.is_closed or stream.rebuild
        elif stream.status is StreamStatus.QUARANTINED:
            assert is_corrupt or stream.digest != str(version)
        else:
            assert stream.status in SETTLED


Service.TestCase.settings = hypothesis_settings(
    max_examples=examples(400), stateful_step_count=40, deadline=None
)
TestService = Service.TestCase
TestService.__doc__ = "Whatever the order of events, nothing is done twice and nothing is lost."


class FollowingService(Service):
    """The same, with runs that are appended while they are recorded."""

    settings = replace(SETTINGS, follow=True, tail_flush_s=30)


FollowingService.TestCase.settings = Service.TestCase.settings
TestFollowingService = FollowingService.TestCase
TestFollowingService.__doc__ = "The same where recordings are followed."
