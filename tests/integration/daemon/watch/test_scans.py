"""What the service sees of roots, runs and stores."""

import errno
import os
import shutil

import pytest
from support.service_process import make_run
from support.stores import frame_files, ingest

from panoseti_zarr.cluster import ThreadExecutor
from panoseti_zarr.config import BaselineSubtractConfig, DaemonConfig
from panoseti_zarr.daemon.state.events import StoreComparison
from panoseti_zarr.daemon.watch.live_runs import LiveRuns
from panoseti_zarr.daemon.watch.mounts import mount_of
from panoseti_zarr.daemon.watch.output_check import stat_outputs
from panoseti_zarr.daemon.watch.root_scan import scan_root
from panoseti_zarr.daemon.watch.run_scan import scan_run
from panoseti_zarr.io.simulate import StreamPlan
from panoseti_zarr.pipeline.l1 import make_l1

IMG = StreamPlan("img16", 1, 100)
MARKERS = ("collect_complete", "run_complete")


def look(run, *, with_streams=True, recordings=None):
    """Look at a run whose stores are beside its root."""
    stores = run.parent.parent / "l0", run.parent.parent / "l1"
    return scan_run(run, MARKERS, *stores, with_streams=with_streams, recordings=recordings)


@pytest.fixture
def run(tmp_path):
    """A finished run of one stream."""
    for name in ("l0", "l1"):
        (tmp_path / name).mkdir()
    return make_run(tmp_path / "data", IMG)


class TestListRoot:
    """Data roots and the names in them."""

    def test_runs_come_oldest_first_whatever_else_is_there(self, tmp_path):
        """By the start in the name, then by name; files, dot files and others are no runs."""
        for name in (
            "zz.pffd",
            "obs_X.start_2024-07-25T04:34:06Z.runtype_a.pffd",
            "obs_X.start_2023-01-01T00-00-00Z.runtype_a.pffd",
            "aa.pffd",
            ".hidden.pffd",
            "other",
        ):
            (tmp_path / name).mkdir()
        (tmp_path / "file.pffd").touch()
        seen = scan_root(tmp_path)
        starts = [entry.name[:16] for entry in seen.runs]
        assert starts == ["obs_X.start_2023", "obs_X.start_2024", "aa.pffd", "zz.pffd"]
        assert (seen.n_entries, seen.problem, seen.refused) == (7, "", ())
        assert seen.device == os.stat(tmp_path).st_dev

    def test_the_start_is_that_of_the_name_else_of_the_directory(self, tmp_path):
        """ignore_before compares with it; a start that is not a time is ignored."""
        (tmp_path / "obs_X.start_2024-07-25T04:34:06Z.pffd").mkdir()
        (tmp_path / "obs_X.start_2024-99-25T04:34:06Z.pffd").mkdir()
        os.utime(tmp_path / "obs_X.start_2024-99-25T04:34:06Z.pffd", ns=(5, 5))
        starts = [entry.start_ns for entry in scan_root(tmp_path).runs]
        assert starts == [1721882046 * 10**9, 5]

    @pytest.mark.parametrize(
        "name", [b"evil\n.pffd", b"esc\x1b[31m.pffd", b"\xff.pffd", b"n" * 201 + b".pffd"]
    )
    def test_names_that_could_do_harm_are_refused(self, tmp_path, name):
        """Control characters, bytes that are not UTF-8, names that are too long."""
        os.mkdir(os.path.join(os.fsencode(tmp_path), name))
        seen = scan_root(tmp_path)
        assert (len(seen.refused), seen.runs) == (1, ())

    def test_links_that_lead_out_are_refused_and_others_followed(self, tmp_path):
        """A link stays in the root and keeps its name, or it is refused."""
        root, outside = tmp_path / "root", tmp_path / "outside"
        for place in (root / "store" / "in.pffd", outside / "out.pffd", root / "real.pffd"):
            place.mkdir(parents=True)
        (root / "in.pffd").symlink_to(root / "store" / "in.pffd")
        (root / "out.pffd").symlink_to(outside / "out.pffd")
        (root / "up.pffd").symlink_to("..")
        (root / "alias.pffd").symlink_to("real.pffd")
        (root / "nowhere.pffd").symlink_to("nothing")
        seen = scan_root(root)
        assert [entry.name for entry in seen.runs] == ["in.pffd", "real.pffd"]
        assert sorted(name for name, _ in seen.refused) == [
            "alias.pffd",
            "nowhere.pffd",
            "out.pffd",
            "up.pffd",
        ]

    def test_a_root_that_cannot_be_listed_says_why(self, tmp_path):
        """Missing, or no directory."""
        (tmp_path / "file").touch()
        assert scan_root(tmp_path / "nothing").problem == "is missing"
        assert scan_root(tmp_path / "file").problem == "is not a directory"


class TestLookAtRun:
    """The files of a run, and how their stores stand."""

    def test_sees_markers_and_streams(self, run):
        """Markers that count, streams without a store, empty files."""
        seen = look(run)
        assert seen.markers == MARKERS
        assert [(s.key, s.store) for s in seen.streams] == [
            ("dp_img16.module_1", StoreComparison.ABSENT)
        ]
        assert seen.n_empty_files == 3
        assert seen.directory_mtime_ns == run.stat().st_mtime_ns
        assert look(run, with_streams=False).streams is None

    def test_the_growth_of_a_run_that_has_its_marker(self, run):
        """It is looked for where the run was seen to grow, and not in one that was over before."""
        recordings = LiveRuns(DaemonConfig(follow=True))
        assert look(run, recordings=recordings).growth == ()
        (growth,) = look(run, recordings=recordings, with_streams=False).growth
        assert growth.size_bytes == frame_files(run)[0].stat().st_size
        assert look(run, recordings=recordings).growth == (growth,)

    def test_a_store_that_cannot_be_looked_at_is_not_gone(self, run, monkeypatch):
        """An output disk that fails for a moment takes no store away."""
        lstat = os.lstat

        def fail(path, **options):
            if str(path).endswith(".zarr"):
                raise OSError(errno.EIO, "Input/output error", str(path))
            return lstat(path, **options)

        monkeypatch.setattr(os, "lstat", fail)
        seen = look(run)
        assert (seen.streams, seen.problem) == (None, "cannot be read: Input/output error")

    @pytest.mark.parametrize("name", ["hk.pff", ".copying.XyZ", "log.txt"])
    def test_every_file_counts_for_the_digest(self, run, name):
        """Also dot files and unknown files: what is written to is not at rest."""
        (run / name).touch()
        before = look(run).digest
        assert look(run).digest == before
        with (run / name).open("a") as file:
            file.write("more")
        assert look(run).digest != before

    def test_a_touched_and_a_replaced_file_change_the_streams_digest(self, run):
        """Same size, other mtime; same mtime, other inode."""
        (file,) = frame_files(run)
        digests = [look(run).streams[0].digest]
        os.utime(file, ns=(1, 1))
        digests.append(look(run).streams[0].digest)
        copy = run.parent / "copy"
        shutil.copy2(file, copy)
        copy.rename(file)
        digests.append(look(run).streams[0].digest)
        assert len(set(digests)) == 3

    def test_another_file_does_not_change_the_streams_digest(self, run):
        """A quarantine lifts by the stream's own files alone."""
        before = look(run)
        (run / "log.txt").write_text("x")
        after = look(run)
        assert after.digest != before.digest
        assert after.streams == before.streams

    def test_stores_are_compared_without_reading_frames(self, run, tmp_path):
        """Same, then different after a touch, then the source gone, then the store gone."""
        ingest(run, tmp_path / "l0")
        assert look(run).streams[0].store is StoreComparison.SAME
        (file,) = frame_files(run)
        os.utime(file, ns=(1, 1))
        assert look(run).streams[0].store is StoreComparison.DIFFERENT
        (store,) = (tmp_path / "l0").glob("*.zarr")
        (store / "zarr.json").write_text("{}")
        assert look(run).streams[0].store is StoreComparison.DIFFERENT
        shutil.rmtree(store)
        assert look(run).streams[0].store is StoreComparison.ABSENT

    def test_a_file_that_is_gone_from_several_is_a_source_gone(self, tmp_path):
        """What is left is as it was committed: nothing to do, but it is not whole."""
        for name in ("l0", "l1"):
            (tmp_path / name).mkdir()
        run = make_run(tmp_path / "data", StreamPlan("img16", 1, 300), max_file_size_mb=0.4)
        ingest(run, tmp_path / "l0")
        frame_files(run)[0].unlink()
        assert look(run).streams[0].store is StoreComparison.SOURCE_GONE

    def test_a_matching_l1_is_seen(self, run, tmp_path):
        """Made of the L0 store as it stands, whatever its settings."""
        ingest(run, tmp_path / "l0")
        assert not look(run).streams[0].has_l1
        (store,) = (tmp_path / "l0").glob("*.zarr")
        l1 = tmp_path / "l1" / store.name.replace(".zarr", "_L1.zarr")
        with ThreadExecutor(1) as executor:
            make_l1(store, l1, BaselineSubtractConfig(), executor)
        assert look(run).streams[0].has_l1

    def test_a_refused_file_is_a_stream_too(self, run):
        """A frame file that leads out of the root must not vanish silently."""
        (file,) = frame_files(run)
        outside = run.parent.parent / "outside.pff"
        file.rename(outside)
        file.symlink_to(outside)
        assert [s.key for s in look(run).streams] == ["dp_img16.module_1"]

    def test_what_cannot_be_looked_at_says_why(self, run, tmp_path):
        """Gone, or swapped for a link that leads out."""
        assert look(run.parent / "nothing.pffd").is_gone
        moved = run.rename(tmp_path / run.name)
        run.symlink_to(moved)
        assert look(run).problem == "leads out of the data root"


class TestOutputs:
    """The output directories."""

    def test_say_what_there_is(self, tmp_path):
        """Free space, volume, emptiness; or why they cannot be used."""
        (tmp_path / "l0").mkdir()
        l0, l1 = stat_outputs(tmp_path / "l0", tmp_path / "l1")
        assert (l0.problem, l0.is_empty, l0.device) == ("", True, os.stat(tmp_path).st_dev)
        assert l0.free_bytes > 0
        assert l0.volume == mount_of(tmp_path).volume
        assert (l1.label, l1.problem) == ("l1_dir", "is missing")


class TestMounts:
    """The kernel's list of mounts."""

    TABLE = (
        "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "22 21 0:40 / /data rw,relatime shared:1 - nfs4 nas:/export rw\n"
        "23 21 8:2 / /data/my\\040disk rw - xfs /dev/sdb rw\n"
        "24 21 0:41 / /data rw - tmpfs tmpfs rw\n"
    )

    @pytest.mark.parametrize(
        ("path", "point", "volume"),
        [
            ("/", "/", "/dev/sda1 (ext4)"),
            ("/database/x", "/", "/dev/sda1 (ext4)"),
            ("/data", "/data", "tmpfs (tmpfs)"),
            ("/data/my disk/x", "/data/my disk", "/dev/sdb (xfs)"),
        ],
    )
    def test_the_nearest_and_latest_mount_counts(self, tmp_path, path, point, volume):
        """Whole path components; the later of two at one place; blanks in names."""
        table = tmp_path / "mountinfo"
        table.write_text(self.TABLE)
        found = mount_of(path, table)
        assert (found.point, found.volume) == (point, volume)

    def test_network_file_systems_are_known(self, tmp_path):
        """They are polled: inotify does not see what other machines do."""
        table = tmp_path / "mountinfo"
        table.write_text("".join(self.TABLE.splitlines(keepends=True)[:2]))
        assert mount_of("/data/run", table).is_network
        assert not mount_of("/home", table).is_network
