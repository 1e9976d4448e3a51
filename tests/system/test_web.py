"""The service's status page: it follows the service, and never holds it up."""

import http.client
import json
import socket

from support.service_process import make_run
from support.waiting import PATIENCE_S

from panoseti_zarr.io.simulate import StreamPlan


class Events:
    """The page's events, each with the Unix time at which it came."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        self.connection.request("GET", "/events")
        self.answer = self.connection.getresponse()

    def __iter__(self):
        while line := self.answer.readline().decode():
            if line.startswith("data: {"):
                yield json.loads(line[6:])

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


def test_a_reader_hears_of_a_commit(web_station, port):
    """Its stream's frames, the minute's bytes; and what the service did, line by line."""
    web_station.start()
    events = Events(port)
    run = make_run(web_station.data, StreamPlan("img16", 1, 300))
    n_bytes, names, is_heard = 0, set(), False
    for message in events:
        n_bytes = max([n for _, n in message.get("minutes", [])], default=n_bytes)
        names |= {line["event"] for line in message.get("lines", [])}
        for shown in message.get("runs", []):
            assert shown["name"] == run.name
            streams = shown.get("streams") or [{"n_frames": 0}]
            is_heard = is_heard or streams[0]["n_frames"] == 300
        if is_heard and "run.completed" in names:
            break
    committed = web_station.find("stream.committed")
    assert n_bytes == sum(commit["n_bytes"] for commit in committed)
    assert {"run.discovered", "stream.closed", "l1.finished"} <= names
    assert "stream.committed" not in names
    events.close()
    assert web_station.stop() == 0


def test_the_service_ends_in_time_with_a_page_open(web_station, port):
    """SIGTERM: the reader is told, and is not waited for."""
    web_station.start()
    events = Events(port)
    told = iter(events)
    next(told)
    assert web_station.stop() == 0
    phases = [m["head"]["service"]["phase"] for m in told if "head" in m]
    assert phases[-1] == "stopped"
    assert web_station.find("service.stopped")[0]["n_abandoned"] == 0
    events.close()


def test_a_port_that_is_taken_stops_nothing(web_station, port):
    """It is said once, and runs are taken in."""
    with socket.create_server(("127.0.0.1", port)):
        make_run(web_station.data)
        web_station.start()
        web_station.wait_for("run.completed")
        (failed,) = web_station.find("web.failed")
        assert failed["port"] == port
        assert "in use" in failed["reason"]
        assert web_station.stop() == 0


def test_the_page_leads_to_the_dask_dashboard(web_station, port):
    """Where the cluster has one."""
    cluster = "[cluster]\nuse_cluster = true\n[cluster.local]\nn_workers = 1\ndashboard_port = 0"
    web_station.write_config(f"[web]\nport = {port}\n{cluster}")
    web_station.start()
    events = Events(port)
    for message in events:
        if url := message.get("head", {}).get("dashboard"):
            break
    events.close()
    assert url.startswith("http://127.0.0.1:")
    assert url.endswith("/status")
    dashboard = http.client.HTTPConnection(url.split("/")[2], timeout=PATIENCE_S)
    dashboard.request("GET", "/health")
    assert dashboard.getresponse().read() == b"ok"
    dashboard.close()
    assert web_station.stop() == 0
