"""Random runs of the model of feeds. `make feeds-model` does a thousand and more of them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from services.changefeed import follower
from tests.changefeed.feeds_model import World

RUNS = int(os.environ.get("PHOTONDB_FEEDS_MODEL_RUNS", "60"))
FIRST_SEED = int(os.environ.get("PHOTONDB_FEEDS_MODEL_SEED", "0"))
BATCH = 10  # runs in one test, so that the workers of the test run can share them
RUN_TIMEOUT_S = 120  # what a client has to have did not come in this time


@pytest.mark.parametrize("first", range(FIRST_SEED, FIRST_SEED + RUNS, BATCH))
async def test_clients_have_what_the_log_says(first: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(first, first + BATCH):
        monkeypatch.setattr(follower, "RETRY_S", 0.001)
        monkeypatch.setattr(follower, "SLICE_S", 0.0 if seed % 3 == 0 else 0.005)
        monkeypatch.setattr(follower, "MAX_BACKLOG_RECORDS", 5 if seed % 3 == 0 else 10_000)
        world = World(tmp_path / str(seed), seed)
        try:
            await asyncio.wait_for(world.run(), RUN_TIMEOUT_S)
        except BaseException as error:
            error.add_note(f"seed {seed}: " + ", ".join(f"{c.kind.name} {c.is_right()}" for c in world.clients))
            raise
