"""The catalogue of metrics is complete, keeps to Prometheus' conventions, and docs/observability.md shows it."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from photondb.telemetry.catalogue import CATALOGUE
from photondb.telemetry.declaring import DURATION_BUCKETS_S, Metric
from photondb.telemetry.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "observability.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == reference(), "run `make docs`"


def test_every_name_is_there_once() -> None:
    names = [metric.name for metric in CATALOGUE]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_a_metric_keeps_to_the_conventions(metric: Metric) -> None:
    assert re.fullmatch("photondb(_[a-z0-9]+)+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.help[-1] == "."
    assert all(re.fullmatch("[a-z]+", label) for label in metric.labels)
    units = {"By": "_bytes", "s": "_seconds", "By/s": "_bytes"}
    if metric.unit in units:
        assert metric.name.removesuffix("_total").endswith(units[metric.unit])
    else:
        assert "_seconds" not in metric.name
        assert "_bytes" not in metric.name
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert bool(metric.buckets) == (metric.kind == "histogram")


def test_durations_are_told_apart_by_100_us() -> None:
    below_a_millisecond = [0.0, *(bound for bound in DURATION_BUCKETS_S if bound <= 0.001)]
    steps = itertools.pairwise(below_a_millisecond)
    assert all(high - low < 0.000_100_1 for low, high in steps)
