"""What clients see of single documents is linearizable, also while processes of the suite die or stand still.

Clients note what they do and what they are told (`workload.py`), and checkers look for what cannot have been
(`registers.py`, `aggregates.py`). `make linearizability` goes on for many minutes, with all kinds of faults.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

import pytest

from tests.linearizability.running import Deployment, Run, run

SECONDS = float(os.environ.get("PHOTONDB_LINEARIZABILITY_SECONDS", "0"))
"""How long each deployment is worked with by `make linearizability`."""

NODES = ("--fronts", "2", "--storage-nodes", "3")
ONE_PROCESS = Deployment("one process")
SPREAD = Deployment("spread tables", processes=True, arguments=NODES, shards=3, divided=True)
DEPLOYMENTS = [
    ONE_PROCESS,
    Deployment("processes", processes=True),
    Deployment("nodes", processes=True, arguments=NODES),
    SPREAD,
    # Sums that come from scan workers, which read what the store has written.
    Deployment("scan workers", environ={"PHOTONDB_COLUMN_CACHE_BYTES": "0"}, padding=900_000),
]


def assert_nothing_is_wrong(done: Run, deployment: Deployment) -> None:
    anomalies = done.anomalies(deployment)
    print(*anomalies, sep="\n\n")
    assert not anomalies, f"{len(anomalies)} anomalies (above), after faults {done.faults}"


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("deployment", "victims"),
    [(ONE_PROCESS, ["suite"]), (SPREAD, ["front", "storage 1"])],
    ids=["one process", "nodes"],
)
def test_processes_die(tmp_path: Path, deployment: Deployment, victims: list[str]) -> None:
    kills = [lambda faults, name=name: faults.kill(name) for name in victims]
    done = run(deployment, tmp_path / "data", seed=1, clients=6, operations=10, faults=kills)
    assert_nothing_is_wrong(done, deployment)


@pytest.mark.skipif(not SECONDS, reason="it takes many minutes: make linearizability")
@pytest.mark.timeout(900 + 2 * SECONDS)
@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda one: one.name)
def test_any_faults(tmp_path: Path, deployment: Deployment) -> None:
    seed = random.randrange(1_000_000)
    done = run(deployment, tmp_path / "data", seed, clients=8, operations=25, until=time.monotonic() + SECONDS)
    print("seed", seed)
    assert_nothing_is_wrong(done, deployment)


@pytest.mark.parametrize("what", ["results", "documents", "columns"])
def test_what_is_broken_is_noticed(tmp_path: Path, what: str) -> None:
    """With each of the caches broken, which are to be exact, the histories have anomalies."""
    deployment = Deployment("broken", program=(sys.executable, "-m", "tests.linearizability.broken", what))
    assert run(deployment, tmp_path / "data", 1, clients=4, operations=50).anomalies(deployment) != []
