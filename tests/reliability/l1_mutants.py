"""Mutants of the making of L1 stores, and of the service's own files."""

from mutant import HERE, Mutant, left_out

BUILDER, SUBTRACT = "panoseti_zarr/io/l1/builder.py", "panoseti_zarr/pipeline/l1.py"
JOBS, LEDGER = "daemon/jobs/l1.py", "daemon/status/ledger.py"

ORDER = f"{HERE}/test_syscall_order.py"
ORDER_NEW = f"{ORDER}::test_a_new_l1_store"
ORDER_ANEW = f"{ORDER}::test_an_l1_store_that_is_made_again"
ORDER_CRASHED = f"{ORDER}::test_an_l1_store_after_a_crash"
CRASH = f"{HERE}/test_l1_crash_points.py"
CRASH_NEW, CRASH_ANEW = f"{CRASH}::test_a_store_is_made", f"{CRASH}::test_a_store_is_made_again"
SERVICE = f"{HERE}/test_service_kills.py"
STORE_TESTS = "tests/integration/io/l1/test_l1_store.py"

_SYNC = '        n_bytes = _sync_new(self.new_path)\n        reached("l1.durable")\n'
_ROOT = "        write_file(self.new_path / ZARR_JSON, root)\n"
_SWAP = "        replace_directory(self.new_path, self.path, self._aside)\n"
_SAVE = "            self._ledger.save(list(batch.rows.values()), batch.volumes)\n"
_FORGET = "            for path in batch.requests:\n                path.unlink(missing_ok=True)\n"

L1_MUTANTS = (
    # The order of its making.
    Mutant("an L1 store in its place before it is durable",
           ((BUILDER, _SYNC, ""),
            (BUILDER, _SWAP, _SWAP + "        n_bytes = _sync_new(self.path)\n")), ORDER_NEW),
    Mutant("an L1 store in its place before its root document",
           ((BUILDER, _ROOT, ""),
            (BUILDER, _SWAP, _SWAP + "        write_file(self.path / ZARR_JSON, root)\n")),
           CRASH_NEW),
    left_out("an L1 store built in its place", BUILDER,
             'self.new_path = path.with_name(f".{path.name}.new")', CRASH_ANEW,
             "self.new_path = path"),
    left_out("an L1 store not exchanged but moved in", "panoseti_zarr/io/fs/durable.py",
             "        _exchange(new, place)\n", ORDER_ANEW,
             "        raise OSError(errno.ENOSYS, '')\n"),
    # What is synced.
    left_out("an L1 store's documents and baseline not synced", BUILDER,
             "                sync_file(path)\n", ORDER_NEW, "                pass\n"),
    left_out("an L1 store's directories not synced", BUILDER,
             "        sync_directory(directory)\n", ORDER_NEW),
    left_out("an L1 store's staged chunks not synced", "panoseti_zarr/io/l1/tasks.py",
             "            sync_file(staged_path(folder, path))\n", ORDER_NEW,
             "            pass\n"),
    left_out("L1_DIR not synced before the old store is removed", "panoseti_zarr/io/fs/durable.py",
             '    sync_directory(place.parent)\n    reached("swap.durable")\n', ORDER_ANEW,
             '    reached("swap.durable")\n'),
    left_out("a killed exchange not durable before the old store is swept",
             "panoseti_zarr/io/fs/durable.py",
             "    sync_directory(place.parent)\n    for path in there:\n", ORDER_CRASHED,
             "    for path in there:\n"),
    # What is checked.
    left_out("an L1 store that matches is made again", JOBS,
             "        if l1_matches(l0_path, l1_path) and not", CRASH_NEW,
             "        if job is None and not"),
    left_out("any L1 store matches", SUBTRACT,
             "        return read_source(l1_path) == source_of(state)\n", CRASH_ANEW,
             "        return bool(read_source(l1_path))\n"),
    left_out("an L0 store that changes meanwhile not noticed", SUBTRACT,
             "        _check_unchanged(self._l0_path, self._state)\n",
             f"{STORE_TESTS}::test_l0_that_changes_meanwhile_is_tried_again_later"),
    left_out("what is not ours replaced", BUILDER,
             "        check_replaceable(self.path)\n",
             f"{STORE_TESTS}::test_what_came_to_the_place_meanwhile_is_not_replaced"),
    left_out("no lock on an L1 store", BUILDER,
             "            cleanup.enter_context(store_lock(path.parent, path.name))\n",
             f"{STORE_TESTS}::test_a_second_maker_learns_who_holds_the_store"),
    # What a start puts in order.
    left_out("what a killed builder left not swept", BUILDER,
             "        recover_replace(self.path, *self._hidden)\n", CRASH_NEW, "        pass\n"),
    left_out("what lies beside an L1 store that matches not swept", JOBS,
             "            recover_killed(l1_path)\n", CRASH_ANEW),
    left_out("an old L1 store that was put aside not put back", "panoseti_zarr/io/fs/durable.py",
             "        there.pop(0).rename(place)\n",
             f"{STORE_TESTS}::test_store_that_was_set_aside_comes_back", "        pass\n"),
    # The service's own files.
    left_out("the ledger written row by row", LEDGER, "check_same_thread=False)",
             f"{SERVICE}::test_a_kill_at_a_step[ledger.run_written]",
             "check_same_thread=False, isolation_level=None)"),
    Mutant("a request forgotten before it is in the ledger",
           (("daemon/report/ledger_writer.py", _SAVE + _FORGET, _FORGET + _SAVE),),
           f"{SERVICE}::test_a_request_is_not_lost[ledger.run_written]"),
    left_out("the ledger's transaction not ended", LEDGER,
             "        with self._db:\n            self._db.executemany(\"REPLACE INTO places",
             f"{SERVICE}::test_a_kill_at_a_step[ledger.run_written-ledger.committed]",
             "        if True:\n            self._db.executemany(\"REPLACE INTO places"),
    left_out("the status not replaced in one step", "daemon/status/file.py",
             'temporary = state_dir / f".{STATUS_NAME}.tmp"',
             f"{SERVICE}::test_a_kill_at_a_step[snapshot.written]",
             "temporary = state_dir / STATUS_NAME"),
    left_out("a ledger that cannot be used not put aside", LEDGER,
             "        self._path.rename(self._path.with_name",
             f"{SERVICE}::test_a_kill_while_a_ledger_is_replaced",
             "        (lambda path: None)(self._path.with_name"),
)  # fmt: skip
