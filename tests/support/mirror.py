"""A read-only mirror of a directory, as a FUSE file system of its own process; root only.

SIGSTOP makes it hang as a dead file server does: who reads, lists or looks waits, also for what
was read before. SIGCONT lets them go on; SIGKILL breaks the connection. The messages are those of
``include/uapi/linux/fuse.h``; see fuse(4).
"""

import ctypes
import errno
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

_READ_ONLY, _NO_SUID, _NO_DEV = 1, 2, 4
_HEADER, _OUT = struct.Struct("<IIQQIIII"), struct.Struct("<IiQ")
_ATTRIBUTES = struct.Struct("<6Q10I")
_BUFFER_BYTES = 1 << 20
_DIRECT_IO = 1


class Mirror:
    """A mirror that runs; leave its context and it is gone."""

    def __init__(self, source: Path, place: Path) -> None:
        self.place = place
        place.mkdir(exist_ok=True)
        words = [sys.executable, __file__, str(source), str(place)]
        self._server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        if self._server.stdout.readline() != "mounted\n":
            self._server.wait()
            self._server.stdout.close()
            pytest.skip("no FUSE file system can be mounted here")

    def __enter__(self) -> "Mirror":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.kill()
        self._server.wait()
        self._server.stdout.close()
        subprocess.run(["umount", "-l", str(self.place)], check=True)

    def hang(self) -> None:
        """Give no answer from now on."""
        self._server.send_signal(signal.SIGSTOP)
        # Not before it has stopped is it sure to give none.
        os.waitid(os.P_PID, self._server.pid, os.WSTOPPED)

    def answer(self) -> None:
        """Answer again, also what was asked meanwhile."""
        self._server.send_signal(signal.SIGCONT)


class _Server:
    """Answers the kernel's requests; nodes are numbers of paths, for good."""

    def __init__(self, source: str) -> None:
        self._paths = [None, source]
        self._nodes = {source: 1}
        self._answers = {
            1: self._look_up,
            3: lambda node, _: struct.pack("<QII", 0, 0, 0) + self._attributes(self._paths[node]),
            5: lambda node, _: os.fsencode(os.readlink(self._paths[node])),
            14: lambda *_: struct.pack("<QII", 0, _DIRECT_IO, 0),
            15: self._read,
            17: lambda *_: struct.pack("<5Q4I24x", 1000, 500, 500, 1000, 500, 4096, 255, 4096, 0),
            18: lambda *_: b"",
            25: lambda *_: b"",
            26: lambda *_: struct.pack("<IIIIHHII36x", 7, 31, 0, 0, 8, 8, 65536, 1),
            27: lambda *_: struct.pack("<QII", 0, 0, 0),
            28: self._list,
            29: lambda *_: b"",
        }

    def serve(self, device: int) -> None:
        while True:
            try:
                request = os.read(device, _BUFFER_BYTES)
            except OSError as error:
                if error.errno == errno.ENODEV:  # unmounted
                    return
                continue  # a request that was given up
            _, kind, unique, node = _HEADER.unpack_from(request)[:4]
            if kind in {2, 36, 42}:  # forget, interrupt: no answer is wanted
                continue
            data, code = b"", 0
            try:
                data = self._answers[kind](node, request[_HEADER.size :])
            except KeyError:
                code = errno.ENOSYS
            except OSError as error:
                code = error.errno
            try:
                os.write(device, _OUT.pack(_OUT.size + len(data), -code, unique) + data)
            except FileNotFoundError:  # nobody waits for it any more
                continue

    def _look_up(self, node: int, data: bytes) -> bytes:
        path = f"{self._paths[node]}/{os.fsdecode(data.rstrip(bytes(1)))}"
        attributes = self._attributes(path)
        if path not in self._nodes:
            self._nodes[path] = len(self._paths)
            self._paths.append(path)
        return struct.pack("<4QII", self._nodes[path], 0, 0, 0, 0, 0) + attributes

    def _attributes(self, path: str) -> bytes:
        s = os.lstat(path)
        times = (s.st_atime_ns, s.st_mtime_ns, s.st_ctime_ns)
        seconds, rest = zip(*(divmod(time_ns, 10**9) for time_ns in times), strict=True)
        owner = (s.st_mode, s.st_nlink, s.st_uid, s.st_gid, 0, 4096, 0)
        return _ATTRIBUTES.pack(s.st_ino, s.st_size, s.st_blocks, *seconds, *rest, *owner)

    def _read(self, node: int, data: bytes) -> bytes:
        _, byte_offset, n_bytes = struct.unpack_from("<QQI", data)
        with open(self._paths[node], "rb") as file:
            return os.pread(file.fileno(), n_bytes, byte_offset)

    def _list(self, node: int, data: bytes) -> bytes:
        _, first, n_bytes = struct.unpack_from("<QQI", data)
        listed = b""
        for place, name in enumerate(sorted(os.listdir(self._paths[node]))[first:], first + 1):
            raw = os.fsencode(name)
            entry = struct.pack("<QQII", 1, place, len(raw), 0) + raw
            entry += bytes(-len(entry) % 8)
            if len(listed) + len(entry) > n_bytes:
                break
            listed += entry
        return listed


def _main(source: str, place: str) -> None:
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    flags = _READ_ONLY | _NO_SUID | _NO_DEV
    if libc.mount(b"mirror", os.fsencode(place), b"fuse", flags, options.encode()):
        raise OSError(ctypes.get_errno(), "mount")
    sys.stdout.write("mounted\n")
    sys.stdout.flush()
    _Server(source).serve(device)


if __name__ == "__main__":
    _main(*sys.argv[1:])
