"""Discovery of runs, and the schedule of their scans. Pure.

A rescan of a root tells of its runs. A run that waits to be finished is looked at with every
rescan, when a watch notices something, and when waiting alone may make it finished. A complete
run costs nothing but its entry in the rescan, until its directory changes or ``recheck_s``
passed; then its files are looked at in the background, one run at a time.
"""

from __future__ import annotations

from panoseti_zarr.daemon.state.events import ChangeHint, RootScanned, RunEntry, RunScanned
from panoseti_zarr.daemon.state.instructions import (
    AbandonTasks,
    Instruction,
    Log,
    ScanRoot,
    ScanRun,
    WatchRun,
)
from panoseti_zarr.daemon.state.mount_rules import check_root
from panoseti_zarr.daemon.state.readiness import assess_readiness, observe
from panoseti_zarr.daemon.state.records import MountId, Root, Run, RunPhase
from panoseti_zarr.daemon.state.settings import Settings
from panoseti_zarr.errors import one_line


class RunDiscovery:
    """Follows roots and runs up to the moment when a run is listed.

    Parameters
    ----------
    runs, roots : dict
        The state machine's own records, shared with it.
    """

    def __init__(self, runs: dict[str, Run], roots: dict[str, Root]) -> None:
        self._runs = runs
        self._roots = roots
        self._scan_due: dict[str, float] = {}

    def schedule_scan(self, run: Run, due_s: float) -> None:
        """Look at a run at ``due_s``, or earlier if that was wanted already."""
        self._scan_due[run.name] = min(due_s, self._scan_due.get(run.name, due_s))

    def schedule_listing(self, run: Run) -> None:
        """List a run's streams as soon as can be; one that waits to be finished is listed then."""
        self._roots[run.root].rechecks.appendleft(run.name)

    def on_change_hint(self, event: ChangeHint, settings: Settings) -> None:
        """Bring the next look forward; notices that come fast share one look."""
        root = self._roots.get(event.root)
        run = self._runs.get(event.run) if event.run is not None else None
        if root is None:
            return
        if run is None or run.root != event.root or run.is_removed:
            earliest_s = (root.scanned_s or 0.0) + settings.debounce_s
            root.scan_due_s = min(root.scan_due_s, max(event.now_s, earliest_s))
        elif not root.paused:
            began_s = run.quiet.until_s if run.quiet else 0.0
            # What is recorded gives notice all the time.
            pause_s = settings.rescan_interval_s(0.0) if settings.follow else settings.debounce_s
            self.schedule_scan(run, max(event.now_s, began_s + pause_s))

    def on_root_scanned(
        self, event: RootScanned, settings: Settings
    ) -> tuple[list[Instruction], list[Run]]:
        """Take in the listing of a root.

        Returns
        -------
        instructions : list of Instruction
        removed : list of Run
            Known runs whose directory is gone.
        """
        root = self._roots[event.root]
        root.is_scanning = root.is_hung = False
        root.answered_s = event.now_s
        root.scanned_s = event.now_s
        root.scan_due_s = event.now_s + settings.rescan_s
        known = [run for run in self._runs.values() if run.root == root.path]
        there = [run for run in known if not run.is_removed]
        problem = check_root(root.place, (run.name for run in there), event)
        fields = {"root": root.path, "n_runs": len(event.runs)}
        instructions: list[Instruction] = [Log("root.scanned", "debug", fields=fields)]
        if problem:
            return instructions + self._pause(root, problem, there), []
        if root.paused:
            instructions.append(Log("root.resumed", fields={"root": root.path}))
            root.paused = ""
        root.place = MountId(event.volume, event.device)
        refused = dict(event.refused)
        root.n_ignored = 0
        for entry in event.runs:
            instructions += self._entry_seen(root, entry, refused, event.now_s, settings)
        for name in sorted(refused.keys() - root.refused.keys()):
            fields = {"root": root.path, "reason": refused[name]}
            instructions.append(Log("run.refused", "warning", one_line(name)[:240], None, fields))
        root.refused = refused
        names = {entry.name for entry in event.runs} | refused.keys()
        return instructions, [run for run in there if run.name not in names]

    def on_run_scanned(
        self, event: RunScanned, settings: Settings
    ) -> tuple[list[Instruction], bool]:
        """Take in a look at a run.

        Returns
        -------
        instructions : list of Instruction
        is_listed : bool
            The run is finished (or complete and unchanged), and ``event.streams`` holds.
        """
        run = self._runs[event.run]
        run.is_scanning = False
        root = self._roots[run.root]
        root.answered_s = event.now_s
        for one in self._roots.values():  # it may have moved to another since it was asked for
            if one.rechecking == run.name:
                one.rechecking = ""
        if run.is_removed or (root.paused and not root.is_hung) or event.is_gone or event.problem:
            # What was to be learnt is not: a run that does not wait is listed with the next rescan.
            run.recheck_s = event.now_s
        if run.is_removed or (root.paused and not root.is_hung):
            return [], False
        if event.is_gone:
            root.scan_due_s = min(root.scan_due_s, event.now_s + settings.debounce_s)
            return [], False
        if event.problem:
            return self._not_readable(run, event.problem), False
        run.unreadable = run.reason = ""
        instructions: list[Instruction] = []
        if not run.is_settling:
            if event.digest == run.digest:
                return [], event.streams is not None
            run.settle()
            instructions += [
                Log("run.changed", "info", run.name),
                WatchRun(run.root, run.name),
            ]
        run.quiet = observe(run.quiet, event.digest, event.began_s, event.now_s)
        verdict = assess_readiness(
            run.quiet,
            event.markers,
            settings.finished_markers,
            settings.settle_s,
            settings.quiet_s,
        )
        run.reason = verdict.reason
        if verdict.is_finished and event.streams is not None:
            return instructions, True
        if verdict.is_finished:
            self.schedule_scan(run, event.now_s)
        elif verdict.rescan_interval_s is not None:
            self.schedule_scan(run, verdict.rescan_interval_s)
        return instructions, False

    def start_due_scans(self, now_s: float, settings: Settings) -> list[Instruction]:
        """Return the rescans and looks that are due."""
        instructions: list[Instruction] = []
        for root in self._roots.values():
            if not root.is_scanning and root.scan_due_s <= now_s:
                root.is_scanning, root.answered_s = True, now_s
                instructions.append(ScanRoot(root.path))
            elif root.is_scanning and not root.paused:
                instructions += self._check_hung(root, now_s - settings.hang_s)
        for name in [name for name, due_s in self._scan_due.items() if due_s <= now_s]:
            run = self._runs[name]
            if not run.is_scanning:
                del self._scan_due[name]
                instructions += self._look(run, _may_be_finished(run, now_s, settings))
        for root in self._roots.values():
            instructions += self._recheck(root)
        return instructions

    def next_due_s(self) -> float | None:
        """Return the earliest time at which something is due."""
        due = [root.scan_due_s for root in self._roots.values() if not root.is_scanning]
        due += [s for name, s in self._scan_due.items() if not self._runs[name].is_scanning]
        return min(due, default=None)

    def _recheck(self, root: Root) -> list[Instruction]:
        """List the next complete run of a root whose turn has come: one at a time."""
        while root.rechecks and not (root.rechecking or root.paused):
            run = self._runs[root.rechecks[0]]
            if run.is_scanning:
                return []
            root.rechecks.popleft()
            if run.root == root.path and not run.is_settling:
                instructions = self._look(run, with_streams=True)
                root.rechecking = run.name if instructions else ""
                return instructions
        return []

    def _look(self, run: Run, with_streams: bool) -> list[Instruction]:
        root = self._roots.get(run.root)
        if root is None or root.paused or run.is_removed:
            return []
        run.is_scanning = True
        return [ScanRun(run.root, run.name, with_streams)]

    def _check_hung(self, root: Root, before_s: float) -> list[Instruction]:
        """Pause a root whose last answer is too old; its next one resumes it."""
        if root.answered_s > before_s:
            return []
        root.is_hung = True
        return [*self._pause(root, "gives no answer", []), AbandonTasks()]

    def _pause(self, root: Root, problem: str, there: list[Run]) -> list[Instruction]:
        for run in there:
            self._scan_due.pop(run.name, None)
        if problem == root.paused:
            return []
        root.paused = problem
        return [Log("root.paused", "warning", fields={"root": root.path, "reason": problem})]

    def _entry_seen(
        self,
        root: Root,
        entry: RunEntry,
        refused: dict[str, str],
        now_s: float,
        settings: Settings,
    ) -> list[Instruction]:
        run = self._runs.get(entry.name)
        if run is not None and run.root != root.path and not run.is_removed:
            refused[entry.name] = f"a run of this name is in {run.root}"
            return []
        if run is None:
            before_ns = settings.ignore_before_ns
            if before_ns is not None and entry.start_ns < before_ns:
                root.n_ignored += 1
                return []
            run = self._runs[entry.name] = Run(entry.name, root.path, entry.order)
            return self._discovered(run, now_s)
        if run.is_removed:
            run.root, run.phase, run.quiet = root.path, RunPhase.SETTLING, None
            return self._discovered(run, now_s)
        is_changed = entry.directory_mtime_ns != run.directory_mtime_ns
        if run.is_settling or is_changed or run.n_quarantined:
            self.schedule_scan(run, now_s)
        if run.recheck_s is not None and run.recheck_s <= now_s:
            run.recheck_s = now_s + settings.recheck_s
            root.rechecks.append(run.name)
        return []

    def _discovered(self, run: Run, now_s: float) -> list[Instruction]:
        run.discovered_s = now_s
        self.schedule_scan(run, now_s)
        return [
            Log("run.discovered", "info", run.name, None, {"root": run.root}),
            WatchRun(run.root, run.name),
        ]

    def _not_readable(self, run: Run, problem: str) -> list[Instruction]:
        was_logged, run.unreadable = bool(run.unreadable), problem
        run.reason = problem
        if was_logged:
            return []
        return [Log("run.unreadable", "warning", run.name, None, {"reason": problem})]


def _may_be_finished(run: Run, now_s: float, settings: Settings) -> bool:
    """Whether a look now may find the run finished, so that its streams are worth listing."""
    if not run.is_settling or run.quiet is None:
        return False
    seconds = now_s - run.quiet.since_s
    return seconds >= settings.settle_s or 0 < settings.quiet_s <= seconds
