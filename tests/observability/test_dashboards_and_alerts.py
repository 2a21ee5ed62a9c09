"""Every expression of the dashboards and alert rules gives data of a suite at work, and each alert has a runbook."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.observability.expressions import ALERTS, DASHBOARDS, FOLDER, alert_rules, expressions
from tests.observability.load import under_load
from tests.observability.prometheus import scraping
from tests.running_suite import RunningSuite

ROOT = Path(__file__).parents[2]
RATE_INTERVAL = "20s"
GIVE_UP_S = 200
TARGET_LABELS = {"job", "instance", "process"}
"""What Prometheus adds itself."""


@pytest.fixture(scope="module", params=[(), ("--fronts", "2")], ids=["processes", "fronts"])
def targets(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file of scrape targets of a suite at work."""
    data = tmp_path_factory.mktemp("suite") / "data"
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("PHOTONDB_HTTP_ALLOW_PRIVATE", "1")
        with (
            RunningSuite(data, processes=True, arguments=request.param) as suite,
            under_load(suite.driver_port),
        ):
            yield data / "telemetry.json"


def test_every_metric_and_label_is_exported(targets: Path) -> None:
    labels = {"up": set(TARGET_LABELS)}
    for target in json.loads(targets.read_text()):
        with urllib.request.urlopen(f"http://{target['targets'][0]}/_metrics") as page:
            for family in text_string_to_metric_families(page.read().decode()):
                for sample in family.samples:
                    labels.setdefault(sample.name, set(TARGET_LABELS)).update(sample.labels)
    for expression in expressions(RATE_INTERVAL):
        named = expression.metrics()
        assert named, expression
        for name, selected in named.items():
            assert name in labels, f"{expression.where}: {name} is not exported"
            unknown = (selected | expression.grouping_labels()) - labels[name]
            assert not unknown, f"{expression.where}: {name} has no label {unknown}"


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed")
def test_every_expression_gives_data(targets: Path, tmp_path: Path) -> None:
    with scraping(targets, tmp_path / "prometheus") as prometheus:
        missing = expressions(RATE_INTERVAL)
        ends = time.monotonic() + GIVE_UP_S
        while missing and time.monotonic() < ends:
            time.sleep(0.5)
            missing = [expression for expression in missing if not prometheus.values(expression.text)]
    assert not missing


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", FOLDER / "prometheus.yml"),
        ("check", "rules", ALERTS),
        ("test", "rules", Path(__file__).parent / "alerts.test.yaml"),
    ],
    ids=lambda arguments: " ".join(map(str, arguments[:2])),
)
def test_promtool_finds_nothing_wrong(arguments: tuple[Any, ...]) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_in_a_test_of_its_own() -> None:
    text = (Path(__file__).parent / "alerts.test.yaml").read_text()
    assert set(re.findall(r"alertname: (\w+)", text)) == {rule["alert"] for rule in alert_rules()}


@pytest.mark.parametrize("rule", alert_rules(), ids=lambda rule: rule["alert"])
def test_an_alert_has_a_runbook(rule: dict[str, Any]) -> None:
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^#+ (.*)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert rule["labels"]["severity"] in ("critical", "warning")


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_one_that_grafana_takes(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    assert dashboard["uid"] == f"photondb-{path.stem}"
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        assert panel["type"] in ("row", "stat", "timeseries")
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, f"{panel['title']} overlaps another panel"
        assert at["x"] + at["w"] <= 24
        taken |= cells
        for target in panel.get("targets", []):
            assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "prometheus"}


def test_the_dashboards_that_there_must_be() -> None:
    assert {path.stem for path in DASHBOARDS} == {"overview", "queries", "storage", "changefeeds", "services"}
