"""Mutants of what follows a recording: each rule that a frame's place depends on, left out."""

from mutant import left_out

GROWTH, GROWING = "panoseti_zarr/core/pff/growth.py", "panoseti_zarr/io/pff/live.py"
APPEND = "panoseti_zarr/pipeline/appender.py"
FOLLOW, MODEL = "panoseti_zarr/pipeline/follow.py", "panoseti_zarr/model.py"
FOLLOWER, RECORDINGS = "daemon/state/live_streams.py", "daemon/watch/live_runs.py"

ROUNDS = "tests/integration/pipeline/test_follow.py"
SERVICE = "tests/system/test_service_follow.py"
STATE = "tests/unit/daemon/state/test_live_streams.py"

FOLLOW_MUTANTS = (
    left_out("a growing file's last frame counted", GROWTH, "    return good\n",
             f"{ROUNDS}::test_readers_see_a_store_that_only_grows[7001-img16]",
             "    return good + 1\n"),
    left_out("reserved space counted", GROWING,
             "header.endswith(HEADER_END) and parse_header(header[:-3], product) is not None",
             f"{ROUNDS}::test_reserved_space_is_no_frames", "bool(header)"),
    left_out("the next file read before the last one rests", GROWTH,
             "(place and not is_final[place - 1])",
             f"{ROUNDS}::test_the_next_file_waits_for_the_last_to_rest", "False"),
    left_out("read on behind a gap", GROWTH, "seqno != place or",
             f"{ROUNDS}::test_a_gap_waits", ""),
    left_out("a growing file taken for a final one", GROWING,
             "            if place == len(files) - 1:\n",
             f"{ROUNDS}::test_reserved_space_is_no_frames", "            if place < 0:\n"),
    left_out("a file that was replaced taken for one that grew", MODEL,
             "        return self.inode == before.inode and self.size_bytes >= before.size_bytes\n",
             f"{ROUNDS}::test_a_file_that_shrinks_or_is_replaced",
             "        return self.size_bytes >= before.size_bytes\n"),
    left_out("a restarted process reads nothing again", GROWING,
             "            and (before := known.get(entry.seqno)) is not None\n"
             "            and before.entry == entry\n"
             "            and before.source.is_still(now[entry.seqno])\n"
             "            and (not is_final or "
             "now[entry.seqno].has_grown_from(before.source.identity))\n",
             f"{ROUNDS}::test_committed_frames_are_read_again_once_after_a_restart", ""),
    left_out("a file that was closed trusted as one that grows", GROWING,
             "            and before.entry == entry\n",
             f"{ROUNDS}::test_a_closed_file_that_is_rewritten_and_grows", ""),
    left_out("a finished file of the same size trusted", GROWING,
             "            and (not is_final or "
             "now[entry.seqno].has_grown_from(before.source.identity))\n",
             f"{ROUNDS}::test_a_file_that_is_rewritten_at_the_end", ""),
    left_out("a file that was written again taken for one that grew", GROWING,
             "                    self._forget(name)\n",
             f"{ROUNDS}::test_a_file_that_is_written_again", "                    pass\n"),
    left_out("files that were not compared trusted", APPEND,
             "        self.has_compared = not found.removed\n",
             f"{ROUNDS}::test_several_files_are_read_again_after_a_restart",
             "        self.has_compared = True\n"),
    left_out("a stream closed without its committed files", APPEND,
             "            raise source_gone(found.removed)\n",
             f"{ROUNDS}::test_committed_files_that_are_gone_at_the_close", "            pass\n"),
    left_out("a growing file has to be as it was", MODEL,
             "        return identity.may_have_grown_from(self.identity)\n",
             f"{ROUNDS}::test_a_file_that_grows_while_it_is_read_is_no_other",
             "        return identity == self.identity\n"),
    left_out("a flush ends in the middle of an inner chunk", GROWTH,
             "    in_pieces = n_available // inner_chunk * inner_chunk if inner_chunk else "
             "n_available\n",
             f"{ROUNDS}::test_a_flush_ends_with_an_inner_chunk", "    in_pieces = n_available\n"),
    left_out("a round closes the stream", FOLLOW, "            close=False,\n",
             f"{ROUNDS}::test_readers_see_a_store_that_only_grows[50000-img16]",
             "            close=True,\n"),
    left_out("a finished run's last round leaves it open", FOLLOWER,
             "            return [requeue(run, stream)]\n",
             f"{STATE}::test_a_round_under_way_when_the_run_is_finished", "            pass\n"),
    left_out("a flush before its time", FOLLOWER,
             "            known.flush_due_s = now_s + settings.tail_flush_s\n",
             f"{STATE}::test_the_tail_is_shown_every_tail_flush_s", "            pass\n"),
    left_out("a DAQ node's directories not followed", RECORDINGS,
             "        if not self.settings.follow:\n",
             f"{SERVICE}::test_a_daq_nodes_directories_are_followed", "        if run:\n"),
)  # fmt: skip
