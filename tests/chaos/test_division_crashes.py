"""kill -9 of each storage node while a table is divided anew, under writers and a live query."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from rethinkdb import r
from rethinkdb.errors import ReqlError

from tests.chaos.test_storage_node_crashes import NODES, TABLE, Feed, progress, wait_for, writing
from tests.cli.test_command import photondb
from tests.running_suite import RunningSuite
from tests.storage_nodes import storage_processes

OLDER = 4000
"""How many documents there are already, so that there is something to copy when a node is killed."""

ROUNDS = ((3, 1, 0.0), (2, 0, 0.1), (3, 2, 0.3), (1, 0, 0.0))
"""Into how many parts the table is divided, which node is killed, and how many seconds later."""


def divided(connection: Any, shards: int) -> bool:
    """Whether the table has so many parts, and is not being divided anew."""
    try:
        if not TABLE.status()["status"]["all_replicas_ready"].run(connection):
            return False
        return len(TABLE.config()["shards"].run(connection)) == shards
    except ReqlError:  # a node is away
        return False


@pytest.mark.timeout(600)
def test_a_table_is_whole_whoever_dies_while_it_is_divided_anew(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with RunningSuite(data, processes=True, arguments=("--storage-nodes", str(NODES))) as suite:
        connection = r.connect("127.0.0.1", suite.driver_port)
        r.table_create("spread").run(connection)
        TABLE.index_create("n").run(connection)
        TABLE.index_wait("n").run(connection)
        TABLE.insert(r.range(1, OLDER + 1).map(lambda n: {"id": 0 - n, "n": 0}).coerce_to("array")).run(connection)
        feed = Feed(suite.driver_port)
        feed.start()
        feed.opened.wait()
        with writing(suite.driver_port) as writers:
            progress(writers)
            for shards, killed, after_s in ROUNDS:
                pid = storage_processes(suite)[killed]
                TABLE.reconfigure(shards=shards, replicas=1).run(connection)
                time.sleep(after_s)
                os.kill(pid, signal.SIGKILL)
                wait_for(
                    lambda killed=killed, pid=pid: storage_processes(suite).get(killed, pid) != pid, "a new process"
                )
                wait_for(lambda shards=shards: divided(connection, shards), "the division")
                progress(writers)
        acknowledged = {key: value for writer in writers for key, value in writer.acknowledged.items()}
        assert all(not writer.is_alive() for writer in writers)
        present = {row["id"]: row["n"] for row in TABLE.run(connection)}
        assert len([key for key in present if key < 0]) == OLDER
        assert {key: present.get(key) for key in acknowledged} == acknowledged
        assert sorted(row["id"] for row in TABLE.order_by(index="n").run(connection)) == sorted(present)
        told = {key: value for key, value in present.items() if key >= 0}
        wait_for(lambda: feed.error is not None or feed.values() == told, "the end of the feed")
        assert feed.error is None
        assert TABLE.count().run(connection) == len(present)
        with contextlib.closing(connection):
            pass
    checked = photondb("check", str(data))
    assert (checked.returncode, checked.stderr) == (0, "")
