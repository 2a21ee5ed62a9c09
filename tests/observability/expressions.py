"""The PromQL expressions of the dashboards and alert rules in compose/observability."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "compose" / "observability"
DASHBOARDS = sorted((FOLDER / "grafana" / "dashboards").glob("*.json"))
ALERTS = FOLDER / "alerts.yaml"

_COMPARISON = re.compile(r"\s+(?:==|!=|<=?|>=?)\s+[\d.e+-]+\s*$")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True)
class Expression:
    """`text` is what gives data whenever the suite is at work; `where` says where it stands."""

    where: str
    text: str

    def metrics(self) -> dict[str, set[str]]:
        """The metrics that it names, and of each the labels by which it is selected."""
        found: dict[str, set[str]] = {}
        for name, matchers in re.findall(r"\b(photondb_\w+|up)\b(?:\{(.*?)\})?", self.text):
            found.setdefault(name, set()).update(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", _STRING.sub('""', matchers)))
        return found

    def grouping_labels(self) -> set[str]:
        """The labels that it groups by."""
        lists = re.findall(r"\bby \(([^)]*)\)", self.text)
        return {label.strip() for labels in lists for label in labels.split(",")} - {"le"}


def alert_rules() -> list[dict[str, Any]]:
    """All alert rules."""
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def expressions(rate_interval: str) -> list[Expression]:
    """All expressions; those of alerts without the comparison that makes them fire. Grafana's variable for the interval
    of rates is `rate_interval`."""
    found = []
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text())
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                text = target["expr"].replace("$__rate_interval", rate_interval)
                found.append(Expression(f"{path.stem}: {panel['title']}", text))
    for rule in alert_rules():
        text, count = _COMPARISON.subn("", rule["expr"])
        assert count == 1, f"{rule['alert']} does not end with a comparison"
        # Minutes are too long for a test.
        found.append(Expression(rule["alert"], re.sub(r"\[\d+m\]", f"[{rate_interval}]", text)))
    return found
