"""The reference of the metrics, docs/observability.md, written from the catalogue.

python -m photondb.telemetry.reference    prints it; `make docs` puts it where it belongs
"""

from __future__ import annotations

import itertools
import sys

from photondb.telemetry.catalogue import CATALOGUE, MAX_TABLES, OTHER
from photondb.telemetry.declaring import DURATION_BUCKETS_S, Metric

INTRODUCTION = f"""\
# Metrics, one by one

This page is written by `make docs` from the catalogue of metrics (`photondb/telemetry/catalogue.py`).
[operations.md](operations.md#metrics) says where they are to be had, and by OTLP how.

- Names and units are Prometheus' usual ones: seconds, bytes, and `_total` at the end of what only grows. By OTLP they
  have the same names, and the units that stand in the second column in UCUM's notation.
- The label `service` is one of `gateway`, `query`, `storage`, `auth` and `changefeed`. What belongs to a process (its
  figures, its connections, its bus) has `photondb` there where one process runs all of them, and `front` where it is a
  gateway and a query service.
- At most {MAX_TABLES} tables have metrics of their own: those that are used first. All others together have `{OTHER}`
  as their database and table.
- A histogram has `_bucket`, `_sum` and `_count`. Durations are counted in buckets that are 100 us wide up to one
  millisecond, and get wider from there on: {", ".join(f"{bound:g}" for bound in DURATION_BUCKETS_S)} seconds.
"""


def reference() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for area, metrics in itertools.groupby(CATALOGUE, lambda metric: metric.area):
        parts.append(f"## {area}\n\n| metric | kind | labels | meaning |\n| --- | --- | --- | --- |")
        parts += map(_row, metrics)
        parts.append("")
    return "\n".join(parts)


def _row(metric: Metric) -> str:
    unit = "" if metric.unit == "1" else f", {metric.unit}"
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind}{unit} | {labels} | {metric.help} |"


if __name__ == "__main__":
    sys.stdout.write(reference())
