"""Break each rule of the protocols, L0, L1 and the service's files, and see a test fail.

Run it as a command, with parts of names to choose by: it applies one mutation at a time to a
temporary copy of the package, runs there the few tests that must notice, prints which did, and
exits with 1 if a mutant survives.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from follow_mutants import FOLLOW_MUTANTS
from l1_mutants import L1_MUTANTS
from mutant import HERE, PACKAGES, ROOT, Mutant, apply, left_out

STORE, TASKS = "panoseti_zarr/io/l0/writer.py", "panoseti_zarr/io/l0/tasks.py"
LOCK, DURABLE = "panoseti_zarr/io/fs/locks.py", "panoseti_zarr/io/fs/durable.py"
FRAMES, APPEND = "panoseti_zarr/io/pff/frames.py", "panoseti_zarr/core/append_plan.py"
INGEST, FLOW = "panoseti_zarr/pipeline/appender.py", "panoseti_zarr/pipeline/ordered.py"

ORDER = f"{HERE}/test_syscall_order.py"
ORDER_NEW = f"{ORDER}::test_a_new_store"
ORDER_REOPENED = f"{ORDER}::test_a_store_that_opens_again"
ORDER_REBUILD = f"{ORDER}::test_a_rebuild"
ORDER_CRASHED = f"{ORDER}::test_after_a_crash"
CRASH = f"{HERE}/test_crash_points.py"
WRITER = f"{HERE}/test_one_writer.py"
SOURCES = f"{HERE}/test_source_changes.py"
FAULTS = f"{HERE}/test_disk_faults.py"
INGEST_TESTS = "tests/integration/pipeline/test_ingest.py"

_REPLACE_ROOT = "        self._replace({ZARR_JSON: root})\n"
_REPLACE_ARRAYS = (
    '        self._replace({f"{path}/{ZARR_JSON}": encode(documents[path]) for path in arrays})\n'
)
_MOVE = "        touched = self._move_chunks(staged, documents)\n"
_WRITER_COMMIT = "        self._writer.commit(batch, n_frames, attributes, self._documents)\n"
_LAST = "        self._last_commit_s = now\n"
L0_MUTANTS = (
    # The order of a commit.
    Mutant("the root before the chunks",
           ((STORE, _REPLACE_ROOT, ""), (STORE, _MOVE, _REPLACE_ROOT + _MOVE)), ORDER_REOPENED),
    Mutant("the arrays after the root",
           ((STORE, _REPLACE_ARRAYS, ""), (STORE, _REPLACE_ROOT, _REPLACE_ROOT + _REPLACE_ARRAYS)),
           ORDER_REOPENED),
    Mutant("told before it is committed",
           ((INGEST, _WRITER_COMMIT, ""), (INGEST, _LAST, _LAST + _WRITER_COMMIT)),
           f"{CRASH}::test_a_new_store"),
    left_out("chunks committed out of order", FLOW, "running.append(executor",
             f"{INGEST_TESTS}::test_round_trip[200-img16]", "running.appendleft(executor"),
    left_out("no close without a chunk", INGEST,
             "        if not plans:\n            self._commit([], close=close)\n",
             f"{CRASH}::test_a_close_without_a_chunk"),
    left_out("a new store made in its place", STORE,
             'return self._l0_dir / f".{self._place.name}.new"',
             f"{CRASH}::test_a_new_store[create.begun-0]", "return self.path"),
    left_out("a rebuilt store not exchanged but moved in", DURABLE,
             "        _exchange(new, place)\n", ORDER_REBUILD,
             "        raise OSError(errno.ENOSYS, '')\n"),
    # What is synced.
    left_out("staged chunks not synced", TASKS,
             "            sync_file(staged_path(folder, path))\n", ORDER_REOPENED,
             "            pass\n"),
    left_out("the chunks' directories not synced", STORE,
             "            sync_directory(directory, dir_fd=self._store_fd)\n", ORDER_REOPENED,
             "            pass\n"),
    left_out("documents not synced before they are renamed", STORE,
             "            sync_file(temporary)\n", ORDER_REOPENED, "            pass\n"),
    left_out("the arrays' directories not synced", STORE,
             "        for path in arrays:\n"
             "            sync_directory(path, dir_fd=self._store_fd)\n", ORDER_REOPENED),
    left_out("the store's directory not synced", STORE,
             '        os.fsync(self._store_fd)\n        reached("commit.done")\n', ORDER_REOPENED,
             '        reached("commit.done")\n'),
    left_out("a new store not synced before it appears", STORE,
             "        sync_tree(self._new_path)\n", ORDER_NEW),
    left_out("a directory that cannot be listed not synced", DURABLE, ", onerror=_fail",
             f"{FAULTS}::test_a_call_that_fails_in_a_new_store"),
    left_out("L0_DIR not synced after a new store's rename", STORE,
             '        sync_directory(self._l0_dir)\n        reached("create.done")\n', ORDER_NEW,
             '        reached("create.done")\n'),
    left_out("L0_DIR not synced after an exchange", DURABLE,
             '    sync_directory(place.parent)\n    reached("swap.durable")\n', ORDER_REBUILD,
             '    reached("swap.durable")\n'),
    left_out("a killed commit's root not synced by the next start", STORE,
             "            os.fsync(self._store_fd)\n            sync_directory(self._l0_dir)\n",
             ORDER_CRASHED, "            sync_directory(self._l0_dir)\n"),
    left_out("a killed new store's name not synced by the next start", STORE,
             "            sync_directory(self._l0_dir)\n            self._restore",
             ORDER_CRASHED, "            self._restore"),
    # What is checked.
    left_out("a task does not check its sources' identities", FRAMES,
             "    if not segment.source.is_still(identity_of(os.fstat(fd))):\n",
             f"{SOURCES}::test_a_run_that_is_another_while_it_is_read",
             "    if segment is None:\n"),
    left_out("sources not checked before a commit", INGEST,
             "        self._check_sources()\n"
             "        state = self._writer.state\n        n_before",
             f"{SOURCES}::test_a_change_between_plan_and_commit",
             "        state = self._writer.state\n        n_before"),
    left_out("committed frames of a chunk not compared", TASKS,
             "    n_compare = min(job.plan.n_compare - position, len(found))\n",
             f"{SOURCES}::test_committed_frames_are_compared_also_where_times_say_nothing",
             "    n_compare = 0\n"),
    left_out("files that differ in time not read again", APPEND,
             "            reread.append((entry.first_frame, stop))\n",
             f"{INGEST_TESTS}::test_changed_sources_are_never_appended", "            pass\n"),
    left_out("the fence not checked", STORE,
             "if (held.store_id, held.commit) != (state.store_id, state.commit):",
             f"{WRITER}::test_another_writers_commit_is_not_built_on", "if held is None:"),
    left_out("a store that was moved away not noticed", STORE,
             "        there = os.stat(self.path, follow_symlinks=False)\n",
             f"{WRITER}::test_a_store_moved_while_it_is_written",
             "        there = os.fstat(self._store_fd)\n"),
    left_out("a store that vanished taken for a corrupt one", TASKS,
             '        if os.path.exists(f"{job.store}/{ZARR_JSON}"):\n            raise\n',
             f"{WRITER}::test_a_store_deleted_before_its_partial_chunk_is_compared",
             "        raise\n"),
    # Who writes.
    left_out("no lock", STORE, "            cleanup.enter_context(store_lock(l0_dir, name))\n",
             f"{INGEST_TESTS}::test_two_writers"),
    left_out("no lock on the store's directory", STORE,
             "        lock_directory(self._fd, self.path.name)\n",
             f"{WRITER}::test_a_deleted_lock_file_of_a_writer_that_has_staged_nothing_yet"),
    left_out("no lock on what is staged", LOCK,
             "            lock_directory(stack.enter_context(open_directory(staging)), "
             "staging.name)\n", f"{WRITER}::test_a_deleted_lock_file"),
    left_out("staging made once, though another writer may remove its parent", LOCK,
             "            if staging.parent.is_symlink():\n                raise\n",
             f"{WRITER}::test_another_writer_ends_while_one_begins", "            raise\n"),
    left_out("attempts not named at random", TASKS, "attempt = uuid.uuid4().hex",
             f"{WRITER}::test_a_late_task_of_a_file_that_was_replaced",
             "attempt = str(plan.index)"),
    left_out("a task writes inside the store", TASKS, "attempt = uuid.uuid4().hex",
             f"{WRITER}::test_a_task_that_outlives_its_coordinator",
             "attempt = os.path.relpath(job.store, job.staging) if plan.n_compare "
             "else uuid.uuid4().hex"),
    # What a start puts in order.
    left_out("what is staged not swept", STORE,
             "            os.rename(self.staging, swept)\n",
             f"{WRITER}::test_a_task_that_outlives_its_coordinator", "            pass\n"),
    left_out("what is swept not moved out of late tasks' way", STORE,
             "            os.rename(self.staging, swept)\n",
             f"{WRITER}::test_late_tasks_hold_nobody_up",
             "            shutil.rmtree(self.staging)\n"),
    left_out("a half made store not swept", STORE, "        remove_tree(self._new_path)\n",
             f"{CRASH}::test_a_new_store"),
    left_out("a store rebuilt and not in place not swept", STORE,
             "        recover_replace(self._place, self._aside, self._hidden)\n",
             f"{CRASH}::test_a_rebuild_that_is_given_up"),
    left_out("an old store that was put aside not put back", DURABLE,
             "        there.pop(0).rename(place)\n",
             f"{FAULTS}::test_a_rebuild_where_names_cannot_be_exchanged", "        pass\n"),
    left_out("an old store removed after an exchange that failed", STORE,
             "        recover_replace(self._place, self._aside, self._hidden)\n",
             f"{FAULTS}::test_a_rebuild_that_fails_between_two_renames",
             "        remove_tree(self._aside)\n"),
    left_out("chunks staged where no writer is", "panoseti_zarr/io/l0/tasks.py",
             "        os.mkdir(folder)\n",
             f"{INGEST_TESTS}::test_nothing_is_staged_without_a_writer",
             "        os.makedirs(folder)\n"),
    left_out("arrays ahead of the commit left so", STORE,
             "            self._restore_arrays(state)\n",
             f"{INGEST_TESTS}::test_leftovers_of_a_crash_are_dropped"),
    left_out("chunks above the commit left there", STORE,
             "            self._remove_chunks_above(state)\n",
             f"{INGEST_TESTS}::test_leftovers_of_a_crash_are_dropped"),
    left_out("a partial chunk ahead of the commit left so at the close", INGEST,
             "n_committed, time_chunk, n_stop)",
             f"{CRASH}::test_a_partial_chunk_ahead_of_the_commit",
             "n_committed, time_chunk, n_stop if has_new else n_stop // time_chunk * time_chunk)"),
    left_out("nothing swept at the end", STORE, "            cleanup.callback(writer.leave)\n",
             f"{CRASH}::test_a_new_store"),
)  # fmt: skip
MUTANTS = (*L0_MUTANTS, *L1_MUTANTS, *FOLLOW_MUTANTS)


def run_tests(root: Path, tests: str) -> tuple[int, str]:
    """Run a selection against the package below a directory; return the code and the failure."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-x", "-m", "", tests],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    failed = re.search(r"^(?:FAILED|ERROR) (.*?)(?: - .*)?$", done.stdout, re.MULTILINE)
    skipped = " skipped" in done.stdout and " passed" not in done.stdout
    if done.returncode not in (0, 1) or skipped:
        raise SystemExit(f"{tests} could not be run:\n{done.stdout}{done.stderr}")
    return done.returncode, failed[1] if failed else ""


def main() -> None:
    """Try the mutants that are named, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", help="parts of names; all mutants without")
    names = parser.parse_args().names
    chosen = [m for m in MUTANTS if not names or any(name in m.name for name in names)]
    n_survived = 0
    with tempfile.TemporaryDirectory(prefix="panoseti-zarr-mutants-") as directory:
        root = Path(directory)
        for part in ("tests", "pyproject.toml"):
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, root / part)
        for mutant in chosen:
            for package in PACKAGES:
                shutil.rmtree(root / package, ignore_errors=True)
                shutil.copytree(ROOT / package, root / package, symlinks=True)
            apply(mutant, root)
            code, failed = run_tests(root, mutant.tests)
            n_survived += code == 0
            caught = re.sub(r"^tests/\w+/", "", failed) if code else "SURVIVED"
            sys.stdout.write(f"{mutant.name:<62} {caught}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(chosen)} mutants, {n_survived} survived\n")
    raise SystemExit(n_survived > 0)


if __name__ == "__main__":
    main()
