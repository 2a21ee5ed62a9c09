"""Where Prometheus and the doctor find the ports for metrics: a file in the data directory."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

import orjson

from photondb.telemetry.observation import METRICS_PATH

TARGETS_FILE = "telemetry.json"
"""The file in the data directory that names the ports for metrics, as Prometheus' `file_sd_configs` read it."""


def write_targets(data_dir: Path, bound_to: str, ports: Mapping[str, int]) -> None:
    """Say in the data directory where the metrics of processes are: at which ports of the address that they are bound
    to, by the name of the process."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bound_to, bound_to)
    shown = f"[{host}]" if ":" in host else host
    targets = [
        {"targets": [f"{shown}:{port}"], "labels": {"__metrics_path__": METRICS_PATH, "process": process}}
        for process, port in ports.items()
    ]
    new = data_dir / f"{TARGETS_FILE}.new"
    new.write_bytes(orjson.dumps(targets, option=orjson.OPT_INDENT_2))
    new.replace(data_dir / TARGETS_FILE)


def remove_targets(data_dir: Path) -> None:
    """Take it back."""
    with contextlib.suppress(OSError):
        (data_dir / TARGETS_FILE).unlink()
