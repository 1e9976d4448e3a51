"""The service's connection to its executor: what it posts, and that it leaves nothing open."""

import queue

import pytest
from support.waiting import PATIENCE_S

from panoseti_zarr.cluster import ClusterEvent, ThreadExecutor
from panoseti_zarr.config import Config
from panoseti_zarr.core.backoff import Backoff
from panoseti_zarr.daemon.jobs import executor_supervisor
from panoseti_zarr.daemon.jobs.executor_supervisor import ExecutorSupervisor
from panoseti_zarr.daemon.serial_threads import SerialThreads
from panoseti_zarr.daemon.state.events import (
    ClusterReported,
    Connected,
    Disconnected,
    ExecutorFailed,
)
from panoseti_zarr.errors import ConfigError, TransientIOError


class Supervised:
    """A supervisor, and the events that it posts."""

    def __init__(self, config: Config) -> None:
        self.inbox: queue.SimpleQueue = queue.SimpleQueue()
        self.supervisor = ExecutorSupervisor(config, SerialThreads(), self.inbox.put)

    def next(self, kind: type) -> object:
        """Wait for the next event, which must be of a kind."""
        event = self.inbox.get(timeout=PATIENCE_S)
        assert isinstance(event, kind), event
        return event


@pytest.fixture
def supervised(monkeypatch):
    """A supervisor of an executor in this process."""
    monkeypatch.setattr(executor_supervisor, "_BACKOFF", Backoff(0.01, 0.01))
    made = Supervised(Config.model_validate({"pff_to_zarr": {"num_workers": 2}}))
    yield made
    assert made.supervisor.close(PATIENCE_S)


def is_closed(executor: ThreadExecutor) -> bool:
    """Whether an executor takes no more tasks."""
    try:
        executor.submit(int)
    except RuntimeError:
        return True
    return False


def test_the_executor_is_there_once_it_is_connected(supervised):
    """Its size is posted; the end closes it."""
    supervised.supervisor.connect()
    event = supervised.next(Connected)
    executor = supervised.supervisor.executor
    assert (event.n_slots, event.n_workers) == (executor.n_slots, executor.n_workers) == (2, 1)
    assert not is_closed(executor)
    assert supervised.supervisor.close(PATIENCE_S)
    assert is_closed(executor)
    assert supervised.supervisor.executor is None


def test_one_that_cannot_be_made_yet_is_tried_again(supervised, monkeypatch):
    """Each failure is reported with its delay, until there is a cluster."""
    make, failures = executor_supervisor.make_executor, [1, 2]

    def fail_twice(*given, **named):
        if failures:
            failures.pop()
            raise TransientIOError("no scheduler answers")
        return make(*given, **named)

    monkeypatch.setattr(executor_supervisor, "make_executor", fail_twice)
    supervised.supervisor.connect()
    for _ in range(2):
        event = supervised.next(ClusterReported)
        assert (event.name, event.level) == ("cluster.unreachable", "warning")
        assert event.fields == {"reason": "no scheduler answers", "retry_in_s": 0.01}
    supervised.next(Connected)


def test_one_that_can_never_be_made_ends_the_service(supervised, monkeypatch):
    """With the exit code of its error, which is kept."""
    error = ConfigError("there is no such thing")

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(executor_supervisor, "make_executor", fail)
    supervised.supervisor.connect()
    assert supervised.next(ExecutorFailed).exit_code == 2
    assert supervised.supervisor.error is error


def test_one_that_has_lost_its_cluster_is_made_again(supervised, monkeypatch):
    """A check finds it: the old one is closed; one that is well stays."""
    supervised.supervisor.connect()
    supervised.next(Connected)
    first = supervised.supervisor.executor
    supervised.supervisor.check()
    supervised.supervisor.check()

    def lost(_):
        raise TransientIOError("no scheduler answers")

    with monkeypatch.context() as broken:
        broken.setattr(ThreadExecutor, "n_slots", property(lost))
        supervised.supervisor.check()
        supervised.next(ClusterReported)
    # Those while it could not be made are reported, too.
    while not isinstance(event := supervised.inbox.get(timeout=PATIENCE_S), Connected):
        assert event.name == "cluster.unreachable"
    assert supervised.supervisor.executor is not first
    assert is_closed(first)


def test_what_the_executor_reports_becomes_events(supervised):
    """Lost, back, and anything else."""
    supervised.supervisor.connect()
    supervised.next(Connected)
    report = supervised.supervisor._on_cluster_event
    report(ClusterEvent("cluster.lost", "error", {"reason": "it broke"}))
    assert supervised.next(Disconnected).reason == "it broke"
    report(ClusterEvent("cluster.connected", "info", {"n_slots": 7}))
    assert supervised.next(Connected).n_slots == 7
    report(ClusterEvent("cluster.worker_lost", "warning", {"worker": "a"}))
    event = supervised.next(ClusterReported)
    assert (event.name, event.level, event.fields) == (
        "cluster.worker_lost",
        "warning",
        {"worker": "a"},
    )
