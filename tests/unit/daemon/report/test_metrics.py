"""The page, the dashboard and the metrics agree; the status document has the form it promises."""

import json
import re
import time
from pathlib import Path

import jsonschema
import pytest
import yaml

from panoseti_zarr.daemon.report.metrics import Metrics
from panoseti_zarr.daemon.state.instructions import Log
from panoseti_zarr.daemon.state.readiness import StablePeriod
from panoseti_zarr.daemon.state.records import Run
from panoseti_zarr.daemon.status.document import ServiceInfo, StatusDocument

DOCS = Path(__file__).parents[4] / "docs"
PAGE = (DOCS / "monitoring.md").read_text()
DASHBOARD = json.loads((DOCS / "grafana-dashboard.json").read_text())
NAME = re.compile(r"panoseti_zarr_[a-z0-9_]+")

# What Grafana's import needs of the dashboard's JSON model, and what this one uses of it.
TARGET = {
    "type": "object",
    "required": ["refId", "expr", "datasource"],
    "properties": {"refId": {"pattern": "^[A-Z]$"}, "expr": {"type": "string", "minLength": 1}},
}
PANEL = {
    "type": "object",
    "required": ["id", "type", "title", "gridPos", "datasource", "targets", "fieldConfig"],
    "properties": {
        "type": {"enum": ["stat", "timeseries"]},
        "gridPos": {
            "type": "object",
            "required": ["x", "y", "w", "h"],
            "properties": {"x": {"minimum": 0, "maximum": 23}, "w": {"minimum": 1, "maximum": 24}},
        },
        "targets": {"type": "array", "minItems": 1, "items": TARGET},
        "fieldConfig": {"required": ["defaults", "overrides"]},
    },
}
FORM = {
    "type": "object",
    "required": ["uid", "title", "schemaVersion", "panels", "templating", "time", "timezone"],
    "properties": {
        "uid": {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,40}$"},
        "schemaVersion": {"type": "integer", "minimum": 36},
        "panels": {"type": "array", "minItems": 1, "items": PANEL},
        "templating": {"required": ["list"]},
    },
}


@pytest.fixture
def metrics(port):
    """The metrics, served."""
    served = Metrics(port, "1.0", {})
    yield served
    served.close()


def families(metrics: Metrics) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the kind and the labels of every metric, by its name on the page."""
    collectors = metrics._registry._collector_to_names
    found = {}
    for collector in collectors:
        (family,) = collector.describe() or collector.collect()
        name = family.name + ("_total" if family.type == "counter" else "")
        found[name] = (family.type, tuple(collector._labelnames))
    return found


def test_the_page_has_every_metric_with_its_labels(metrics):
    """docs/monitoring.md: one row a metric, no row that there is not."""
    rows = re.findall(r"^\| `(panoseti_zarr_\w+)` \|([^|]*)\|", PAGE, re.M)
    documented = {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    assert len(rows) == len(documented)
    assert documented == {name: labels for name, (_, labels) in families(metrics).items()}


def test_without_its_cluster_the_service_is_not_ready(metrics):
    """Nor before it watches: that is what the alert goes by."""
    ready = []
    for phase, waits_for in (("starting", None), ("running", None), ("running", "no scheduler")):
        service = ServiceInfo(up=True, phase=phase, waits_for=waits_for)
        metrics.publish(StatusDocument(service=service))
        ready.append(metrics._is_ready._value.get())
    assert ready == [0, 1, 0]


def test_every_expression_uses_metrics_that_there_are(metrics):
    """The dashboard's and the alerts' names are those of the service, suffixes included."""
    known = set()
    for name, (kind, _) in families(metrics).items():
        suffixes = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        known |= {name + suffix for suffix in suffixes}
    expressions = [t["expr"] for panel in DASHBOARD["panels"] for t in panel["targets"]]
    (rules,) = re.findall(r"```yaml\n(groups:.*?)```", PAGE, re.DOTALL)
    groups = yaml.safe_load(rules)["groups"]
    alerts = [rule["expr"] for group in groups for rule in group["rules"]]
    assert len(expressions) > 10
    assert len(alerts) > 2
    for expression in [*expressions, *alerts]:
        used = set(NAME.findall(expression))
        assert used, expression
        assert used <= known, expression


def test_labels_of_expressions_are_those_of_their_metric(metrics):
    """What a panel groups by or shows exists."""
    labels = {name: {*given, "le"} for name, (_, given) in families(metrics).items()}
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            words = re.findall(r"by \(([^)]*)\)", target["expr"])
            wanted = {word.strip() for group in words for word in group.split(",")}
            wanted |= set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            name = re.sub(r"_(bucket|sum|count)$", "", NAME.findall(target["expr"])[0])
            assert wanted <= labels[name], target["expr"]


def test_the_dashboard_has_grafana_s_form():
    """The JSON model as Grafana imports it; panels have numbers of their own and do not overlap."""
    jsonschema.validate(DASHBOARD, FORM)
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        mine = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not mine & cells, panel["title"]
        cells |= mine
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")


def test_stores_are_timed_from_the_finished_run(port):
    """From when its files are unchanged, else from when it was found finished, else not at all."""
    now_s = time.monotonic()
    runs = {
        "a.pffd": Run("a.pffd", "/data", (0, 0, "a"), finished_s=now_s - 5),
        "b.pffd": Run("b.pffd", "/data", (0, 0, "b"), quiet=StablePeriod("d", now_s - 40, now_s)),
        "c.pffd": Run("c.pffd", "/data", (0, 0, "c")),
    }
    metrics = Metrics(port, "1.0", runs)
    try:
        for run in runs:
            metrics.on_log(Log("stream.closed", run=run, stream="dp_img16.module_1"), is_news=True)
            metrics.on_log(Log("l1.finished", run=run, stream="dp_ph256.module_1"), is_news=True)
        for lag, product in ((metrics._to_l0, "img16"), (metrics._to_l1, "ph256")):
            (sample,) = [s for s in lag.labels(product)._samples() if s.name == "_sum"]
            assert 45 <= sample.value < 60
    finally:
        metrics.close()


def test_commits_are_counted_by_product(port):
    """Frames and bytes of each commit; the lag of the last that has one."""
    metrics = Metrics(port, "1.0", {})
    try:
        for lag_s in (3.0, None):
            fields = {"n_new_frames": 7, "n_bytes": 10, "lag_s": lag_s}
            log = Log("stream.committed", run="a", stream="dp_img16.module_1", fields=fields)
            metrics.on_log(log, is_news=True)
        assert metrics._frames.labels("img16")._value.get() == 14
        assert metrics._bytes.labels("img16")._value.get() == 20
        assert metrics._lag._value.get() == 3.0
        assert time.time() - metrics._last_commit._value.get() < 60
    finally:
        metrics.close()
