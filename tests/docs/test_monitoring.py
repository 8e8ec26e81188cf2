"""Metrics, their documentation, the alert rules and the dashboard say the same."""

import json
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from syncd.observe.metrics import Metrics

DOCS = Path(__file__).parent.parent.parent / "docs"
ALERTS = (DOCS / "monitoring" / "alerts.yml").read_text()
DASHBOARD = json.loads((DOCS / "monitoring" / "dashboard.json").read_text())
FREE = ("version", "le")  # labels whose values can't be listed
SCRAPED = {"job", "instance"}  # labels that Prometheus adds


def exposed():
    """Each metric with its type and the values of its labels."""
    found = {}
    for family in text_string_to_metric_families(Metrics().expose().decode()):
        name = {"counter": f"{family.name}_total"}.get(family.type, family.name)
        labels = {}
        for sample in family.samples:
            for label, value in sample.labels.items():
                if label != "le":
                    labels.setdefault(label, set()).add(value)
        found[name] = (family.type, labels)
    return found


def documented():
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?)\| ", (DOCS / "metrics.md").read_text(), re.MULTILINE)
    return {
        name: (kind, {part.split("`")[1]: set(part.split("`")[3::2]) for part in labels.split("; ") if part.strip()})
        for name, kind, labels in rows
    }


EXPOSED = exposed()
SERIES = {
    sample.name: set(sample.labels)
    for family in text_string_to_metric_families(Metrics().expose().decode())
    for sample in family.samples
}


def test_every_metric_is_documented_and_no_other():
    assert documented().keys() == EXPOSED.keys()


@pytest.mark.parametrize("name", EXPOSED)
def test_type_and_labels_are_as_documented(name):
    kind, labels = documented()[name]
    assert kind == EXPOSED[name][0]
    assert labels.keys() == EXPOSED[name][1].keys()
    for label, values in EXPOSED[name][1].items():
        if label not in FREE:
            assert labels[label] == values - {""}, label


def expressions():
    rules = re.findall(r"^ +- alert: (\w+)\n +expr: (.+)$", ALERTS, re.MULTILINE)
    assert len(rules) == ALERTS.count("expr:")
    panels = [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]
    queries = re.findall(r"`([^`]*\([^`]*\bsyncd_[^`]*)`", (DOCS / "metrics.md").read_text().replace("\n", " "))
    return [*rules, *panels, *(("metrics.md", query) for query in queries)]


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_every_expression_asks_for_what_there_is(where, expression):
    asked = re.findall(r"\b((?:syncd|process)_\w+)(?:\{(.*?)\})?", expression)
    assert asked or "up{" in expression
    for name, selectors in asked:
        assert name in SERIES
        chosen = re.findall(r'(\w+)=~?"(.*?)"', selectors)
        assert {label for label, _ in chosen} <= SERIES[name] | SCRAPED
        for label, pattern in chosen:
            if label in SERIES[name]:
                values = set().union(*(labels.get(label, set()) for _, labels in EXPOSED.values()))
                assert all(value in values for value in pattern.split("|")), (label, pattern)


@pytest.mark.parametrize("clause", re.findall(r"by \(([^)]*)\)", ALERTS))
def test_rules_group_by_labels_that_exist(clause):
    known = SCRAPED | {"le"}.union(*(labels for _, labels in EXPOSED.values()))
    assert set(clause.split(", ")) <= known


@pytest.mark.parametrize("alert", re.findall(r"- alert: (\w+)", ALERTS))
def test_every_alert_says_what_is_wrong_and_has_its_page_in_the_runbook(alert):
    (rule,) = re.findall(rf"- alert: {alert}\n(.*?)(?:\n\n|\Z)", ALERTS, re.DOTALL)
    for part in ("severity: ", "summary: ", "description: "):
        assert part in rule
    assert f"runbook_url: docs/operate.md#{alert.lower()}\n" in rule + "\n"
    assert f"\n### {alert}\n" in (DOCS / "operate.md").read_text()


def test_the_dashboard_asks_whichever_prometheus_it_is_given():
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {"${datasource}"}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
