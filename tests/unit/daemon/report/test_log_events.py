"""The log's events: what the code says, the registry, and the documentation agree."""

import ast
from collections.abc import Iterator
from pathlib import Path

from panoseti_zarr import cluster, daemon
from panoseti_zarr.daemon.report.log_events import EVENTS

SOURCES = [
    *sorted(Path(daemon.__file__).parent.rglob("*.py")),
    *sorted(Path(cluster.__file__).parent.rglob("*.py")),
]
LEVELS = {"debug", "info", "warning", "error", "critical"}


def emitted() -> Iterator[tuple[str, set[str] | None]]:
    """Yield the events in the source: name, and its keys where they stand there."""
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Call) and node.args and is_event(node):
                for name in names(node.args[0]):
                    yield name, keys(node)


def is_event(call: ast.Call) -> bool:
    """Whether a call is `Log(...)`, `ClusterEvent(...)` or a logger's method."""
    function = call.func
    if isinstance(function, ast.Name):
        return function.id in {"Log", "ClusterEvent"}
    if not isinstance(function, ast.Attribute):
        return False
    return function.attr == "Log" or (
        function.attr in LEVELS and "log" in ast.unparse(function.value)
    )


def names(node: ast.expr) -> list[str]:
    """Return the event names in an expression."""
    found = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant)]
    return [name for name in found if isinstance(name, str) and "." in name]


def keys(call: ast.Call) -> set[str] | None:
    """Return the keys that a logger's call gives; None where they come from elsewhere."""
    given = {keyword.arg for keyword in call.keywords}
    if isinstance(call.func, ast.Name) or None in given or call.func.attr == "Log":
        return None
    return {"exception" if key == "exc_info" else str(key) for key in given}


def test_every_event_of_the_code_is_registered_and_the_other_way_round() -> None:
    """No event without an entry; no entry that nothing emits."""
    found = {name for name, _ in emitted()}
    # Two names are put together from parts: a parameter, and a library's record.
    texts = "".join(source.read_text() for source in SOURCES if source.name != "log_events.py")
    found |= {name for name in EVENTS if f'"{name}"' in texts}
    assert found == set(EVENTS)


def test_the_keys_of_the_code_are_those_of_the_registry() -> None:
    """Where keys stand in the call, they are the registered ones."""
    for name, given in emitted():
        if given is not None:
            assert given == set(EVENTS[name]), name
