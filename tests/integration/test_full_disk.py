"""The suite on a disk that is full: a small file system in memory, which takes root to mount."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rethinkdb import r
from rethinkdb.errors import ReqlError

from tests.running_suite import RunningSuite
from tests.small_disk import mounted_disk

DISK_BYTES = 320 << 20
"""RocksDB goes on when there is room for a write buffer of 64 MB."""

BALLAST_BYTES = 240 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted_disk(tmp_path / "disk", DISK_BYTES) as path:
        yield path


def insert(connection: Any, number: int, chance: random.Random) -> None:
    """Insert a document of 200 kB that cannot be compressed. Raises ReqlError."""
    result = r.table("t").insert({"id": number, "text": chance.randbytes(100_000).hex()}).run(connection)
    assert result["inserted"] == 1


def fill(connection: Any, chance: random.Random) -> tuple[int, ReqlError]:
    """Insert documents until that fails: how many there are, and the error."""
    number = 0
    while True:
        try:
            insert(connection, number, chance)
        except ReqlError as error:
            return number, error
        number += 1


@pytest.mark.timeout(900)
@pytest.mark.parametrize("processes", [False, True])
def test_writes_fail_reads_go_on_and_writes_resume(disk: Path, processes: bool) -> None:
    chance = random.Random(1)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(BALLAST_BYTES))
    with RunningSuite(disk / "data", processes=processes) as suite:
        connection = r.connect(port=suite.driver_port)
        r.table_create("t").run(connection)
        number, error = fill(connection, chance)
        assert "No space is left on the disk that holds the data directory" in str(error)
        assert number > 10
        assert r.table("t").count().run(connection) == number
        assert len(r.table("t").get(number - 1)["text"].run(connection)) == 200_000
        assert r.table("t").get(number).run(connection) is None
        ballast.unlink()
        while True:
            try:
                insert(connection, number, chance)
            except ReqlError:
                time.sleep(0.2)  # RocksDB looks for free space every few seconds
            else:
                break
        assert r.table("t").count().run(connection) == number + 1
        connection.close()
        suite.kill()
        suite.start()
        connection = r.connect(port=suite.driver_port)
        assert r.table("t").count().run(connection) == number + 1
        connection.close()
