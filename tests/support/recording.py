"""A recording under way, step by step: a finished run whose frame files come bit by bit."""

import shutil
from pathlib import Path
from threading import Event

from panoseti_zarr.cluster import ThreadExecutor
from panoseti_zarr.io.pff.listing import list_run
from panoseti_zarr.io.pff.live import LiveRun
from panoseti_zarr.pipeline.appender import AppendRequest
from panoseti_zarr.pipeline.follow import follow_stream
from support.stores import SMALL_CHUNKS, frame_files, ingest

SETTLE_S = 10.0


class Recording:
    """Writes the files of a finished run of one stream again, and follows them.

    Parameters
    ----------
    whole : Path
        The finished run.
    base : Path
        Where the recording and its store go.
    settings : PffToZarrConfig
        Of the store.
    """

    def __init__(self, whole: Path, base: Path, settings=SMALL_CHUNKS) -> None:
        self.run = base / whole.name
        self.l0 = base / "l0"
        self.settings = settings
        self.now_s = 100.0
        self.commits = []
        self.files = frame_files(whole)
        self.growing = LiveRun(SETTLE_S)
        self.l0.mkdir(parents=True)
        ignore = shutil.ignore_patterns("*.pff", "*_complete", "recording_ended")
        shutil.copytree(whole, self.run, ignore=ignore)
        (self.key,) = list_run(whole).keys

    @property
    def store(self) -> Path:
        """The L0 store."""
        return self.l0 / f"{self.run.name}.{self.key}.zarr"

    def file(self, seqno: int = 0) -> Path:
        """Return a frame file of the recording."""
        return self.run / self.files[seqno].name

    def size(self, seqno: int = 0) -> int:
        """Return a file's size so far."""
        return self.file(seqno).stat().st_size if self.file(seqno).exists() else 0

    def write(self, n_bytes: int, seqno: int = 0) -> None:
        """Let a file grow by this many bytes, or to its end."""
        self.file(seqno).touch()
        with open(self.files[seqno], "rb") as source, open(self.file(seqno), "ab") as file:
            source.seek(file.tell())
            file.write(source.read(n_bytes))

    def finish(self) -> None:
        """Write all files to their ends."""
        for seqno in range(len(self.files)):
            self.write(1 << 30, seqno)

    def look(self, after_s: float = 1.0):
        """See the files some time later."""
        self.now_s += after_s
        return self.growing.observe(list_run(self.run), self.now_s, self.now_s)

    def restart(self) -> None:
        """Forget what was seen, as a service that was started again."""
        self.growing = LiveRun(SETTLE_S)

    def follow(self, *, with_tail: bool = True):
        """Make one round."""
        self.look()
        with ThreadExecutor(2) as executor:
            order = AppendRequest(
                list_run(self.run), self.key, self.settings, executor, self.commits.append, Event()
            )
            return follow_stream(order, self.l0, self.growing, with_tail=with_tail)

    def close(self):
        """Close the stream of the finished run, as the service that followed it does."""
        return ingest(self.run, self.l0, self.settings, growing=self.growing)
