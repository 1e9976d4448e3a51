"""The status page's server by itself: who may ask, what for, and how much."""

import contextlib
import http.client
import json
import os
import socket
import threading
import time

import pytest
from support.waiting import PATIENCE_S

from panoseti_zarr.daemon.status.document import StatusDocument
from panoseti_zarr.daemon.web.hub import MAX_READERS
from panoseti_zarr.daemon.web.server import StatusPage

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
PICTURE = "obs_a.pffd.dp_img16.module_1.zarr.png"
SERVICE = {
    "pid": 1,
    "host": "host",
    "version": "1.0",
    "config": None,
    "phase": "running",
    "started_at": "2024-07-25T04:34:06Z",
    "cluster": "in process",
    "waits_for": None,
}


def run_document(name: str, **more) -> dict:
    """Return a run of a status document."""
    return {"name": name, "root": "/data", "state": "done", **more}


def document(*runs: dict, **service: str) -> StatusDocument:
    """Return a status document."""
    return StatusDocument.model_validate({"service": {**SERVICE, **service}, "runs": runs})


@pytest.fixture
def page(port, tmp_path):
    """The page, served, with one run."""
    page = StatusPage(port, tmp_path)
    page.show(document(run_document("obs_a.pffd")), None)
    yield page
    page.close()
    assert not page._thread.is_alive()


def ask(port: int, path: str, method: str = "GET", **headers: str):
    """Ask for a path; return status, headers and content."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


class Reader:
    """Reads the page's events as a browser does."""

    def __init__(self, port: int, **headers: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        self.connection.request("GET", "/events", headers=headers)
        self.answer = self.connection.getresponse()
        self.last_id = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()
        self.answer.close()

    def take(self) -> dict | None:
        """Return the next message; None at the end."""
        while line := self.answer.readline().decode():
            if line.startswith("id: "):
                self.last_id = line[4:].strip()
            if line.startswith("data: {"):
                self.answer.readline()
                return json.loads(line[6:])
        return None


@pytest.mark.parametrize("path", ["/", "/page.css", "/app.js", "/icon.svg", "/nothing", "/../x"])
def test_every_answer_has_the_headers_that_keep_others_out(page, port, path):
    """Scripts, styles, images and connections of its own alone; also where there is an error."""
    status, headers, content = ask(port, path)
    assert status == (404 if path in {"/nothing", "/../x"} else 200)
    assert content
    policy = headers["Content-Security-Policy"].split("; ")
    for rule in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"):
        assert rule in policy
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] in {"no-store", "no-cache"}
    assert "Server" not in headers
    assert "Access-Control-Allow-Origin" not in headers


def test_every_file_that_the_page_names_is_there(page, port):
    """Scripts, styles and imports: nothing is asked of anybody else, nothing inline."""
    import re

    _, _, html = ask(port, "/")
    assert b"<style" not in html
    assert not re.search(rb"\son\w+=|style=|<script(?![^>]*\ssrc=)", html)
    named = set(re.findall(rb'(?:src|href)="([^"]+)"', html))
    assert b"/app.js" in named
    for path in list(named):
        status, headers, content = ask(port, path.decode())
        assert status == 200
        assert b"innerHTML" not in content
        if headers["Content-Type"].startswith("text/javascript"):
            imported = re.findall(rb'from "\./([^"]+)"', content)
            assert imported
            for name in imported:
                assert ask(port, f"/{name.decode()}")[0] == 200


def test_a_file_that_the_browser_has_is_not_sent_again(page, port):
    """By its ETag; HEAD sends the headers alone."""
    _, headers, content = ask(port, "/page.css")
    assert ask(port, "/page.css", **{"If-None-Match": headers["Etag"]})[::2] == (304, b"")
    status, of_head, nothing = ask(port, "/page.css", "HEAD")
    assert (status, nothing) == (200, b"")
    assert of_head["Content-Length"] == str(len(content))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
@pytest.mark.parametrize("path", ["/", "/events", "/quicklook/x.png"])
def test_it_only_reads(page, port, method, path):
    """405 to everything but GET and HEAD."""
    status, headers, _ = ask(port, path, method)
    assert status == 405
    assert headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:80", "LOCALHOST"])
def test_by_a_name_of_this_machine_it_answers(page, port, host):
    """With any port: of an SSH tunnel it is another."""
    assert ask(port, "/", Host=host)[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io"])
@pytest.mark.parametrize("path", ["/", "/events", "/app.js"])
def test_by_another_name_it_does_not(page, port, host, path):
    """A site whose name is made to lead here would read the page as its own."""
    assert ask(port, path, Host=host)[0] == 403


def test_pages_of_other_sites_cannot_use_it_but_may_link_to_it(page, port):
    """Browsers say where a request comes from."""
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert ask(port, "/events", **foreign, **{"Sec-Fetch-Mode": "cors"})[0] == 403
    assert ask(port, "/", **foreign, **{"Sec-Fetch-Mode": "navigate"})[0] == 200


def test_a_reader_gets_everything_then_what_changes(page, port):
    """One run changes: one run is sent."""
    with Reader(port) as reader:
        first = reader.take()
        assert first["all"]
        assert first["names"] == ["obs_a.pffd"]
        runs = [run_document("obs_a.pffd"), run_document("obs_b.pffd", state="working")]
        page.show(document(*runs), None)
        second = reader.take()
        assert not second["all"]
        assert [run["name"] for run in second["runs"]] == ["obs_b.pffd"]


def test_a_reader_that_comes_back_gets_what_it_missed(page, port):
    """By the ID of its last event; an ID of another process's counts for nothing."""
    with Reader(port) as reader:
        reader.take()
        known = reader.last_id
    runs = [run_document("obs_a.pffd"), run_document("obs_b.pffd")]
    page.show(document(*runs), None)
    with Reader(port, **{"Last-Event-ID": known}) as reader:
        missed = reader.take()
    assert not missed["all"]
    assert [run["name"] for run in missed["runs"]] == ["obs_b.pffd"]
    for other in ("00000000.3", f"{known}0000", "x", f"{known.split('.')[0]}.-1", "é.1"):
        with Reader(port, **{"Last-Event-ID": other.encode().decode("latin-1")}) as reader:
            assert reader.take()["all"]


def test_readers_are_bounded_and_make_room_when_they_leave(page, port):
    """One too many is told to come later."""
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(Reader(port)) for _ in range(MAX_READERS)]
        for reader in readers:
            assert reader.answer.status == 200
            reader.take()
        assert page.is_watched
        status, headers, _ = ask(port, "/events")
        assert (status, headers["Retry-After"]) == (503, "10")
        assert ask(port, "/")[0] == 200
    deadline_s = time.monotonic() + PATIENCE_S
    while ask(port, "/events", "HEAD")[0] != 200 or page._hall._readers:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def test_a_reader_that_takes_nothing_is_left(page, port, monkeypatch):
    """It holds up neither the server nor the other readers."""
    monkeypatch.setattr("panoseti_zarr.daemon.web.handlers._FLUSH_S", 0.5)
    long = "x" * 8_000_000
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        deadline_s = time.monotonic() + PATIENCE_S
        n_shown = 0
        while not page._hall._readers:
            assert time.monotonic() < deadline_s
        while page._hall._readers:
            assert time.monotonic() < deadline_s
            n_shown += 1
            page.show(document(run_document("obs_a.pffd", reason=f"{n_shown} {long}")), None)
            time.sleep(0.3)
        assert ask(port, "/")[0] == 200


def test_connections_are_bounded(page, port, monkeypatch):
    """Descriptors are the service's too."""
    monkeypatch.setattr("panoseti_zarr.daemon.web.server._MAX_CONNECTIONS", 3)
    with contextlib.ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(4)
        ]
        with contextlib.suppress(ConnectionResetError):
            assert connections[-1].recv(1) == b""


def test_a_listed_picture_is_served_and_nothing_else(page, port, tmp_path):
    """By its name in the listing: no path, no link, no other file, no file that is no PNG."""
    secret = tmp_path.parent / "secret.png"
    secret.write_bytes(PNG)
    with Reader(port) as reader:
        reader.take()
        (tmp_path / PICTURE).write_bytes(PNG)
        (tmp_path / "notes.txt").write_bytes(b"private")
        (tmp_path / "other.png").write_bytes(PNG)
        link, fake = PICTURE.replace("_1", "_2"), PICTURE.replace("_1", "_3")
        (tmp_path / link).symlink_to(secret)
        (tmp_path / fake).write_bytes(b"<script>")
        (run,) = reader.take()["runs"]
    assert [name for name, _ in run["pictures"]["dp_img16.module_1"]] == [PICTURE]
    status, headers, content = ask(port, f"/quicklook/{PICTURE}?v=1")
    assert (status, headers["Content-Type"], content) == (200, "image/png", PNG)
    others = [link, fake, "notes.txt", "other.png", "..%2Fsecret.png", "%2Fetc%2Fpasswd", "%00"]
    for name in others:
        assert ask(port, f"/quicklook/{name}")[0] == 404
    os.unlink(tmp_path / PICTURE)
    assert ask(port, f"/quicklook/{PICTURE}")[0] == 404


def test_an_image_directory_that_hangs_holds_nothing_up(port, tmp_path, monkeypatch):
    """It is looked at in a thread that is left behind."""
    go_on, hangs = threading.Event(), threading.Event()

    def hang(directory, known):
        hangs.set()
        assert go_on.wait(PATIENCE_S)
        return known

    monkeypatch.setattr("panoseti_zarr.daemon.web.hub.list_pictures", hang)
    page = StatusPage(port, tmp_path)
    with Reader(port) as reader:
        reader.take()
        assert hangs.wait(PATIENCE_S)
        page.show(document(run_document("obs_a.pffd")), None)
        assert reader.take()["names"] == ["obs_a.pffd"]
    page.close()
    assert not page._thread.is_alive()
    go_on.set()


def test_a_reader_to_whom_nothing_is_new_hears_how_the_service_is(page, port, monkeypatch):
    """Seconds since its loop's last sign of life: where nothing moves, it may hang."""
    monkeypatch.setattr("panoseti_zarr.daemon.web.handlers.HEARTBEAT_S", 0.05)
    page._hall.alive_s -= 500
    with Reader(port) as reader:
        reader.take()
        assert reader.answer.readline() == b"event: beat\n"
        assert 500 <= float(reader.answer.readline().removeprefix(b"data: ")) < 600
        page.alive()
        reader.answer.readline()
        assert reader.answer.readline() == b"event: beat\n"
        assert float(reader.answer.readline().removeprefix(b"data: ")) < 100


def test_the_end_tells_the_readers_and_waits_for_none(port, tmp_path):
    """What is new is sent once more, then the connection ends."""
    page = StatusPage(port, tmp_path)
    page.show(document(), None)
    with Reader(port) as reader, socket.create_connection(("127.0.0.1", port)):
        reader.take()
        page.show(document(phase="stopped"), None)
        closing = threading.Thread(target=page.close)
        closing.start()
        assert reader.take()["head"]["service"]["phase"] == "stopped"
        assert reader.take() is None
        closing.join(PATIENCE_S)
        assert not closing.is_alive()
    page.show(document(), None)
    page.committed(1, 0.0)


def test_a_port_that_is_taken_is_an_error(page, port, tmp_path):
    """For the service to say, and to go on without."""
    with pytest.raises(OSError, match="in use"):
        StatusPage(port, tmp_path)
