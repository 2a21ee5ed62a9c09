"""SIGTERM of a front of several, under load: it answers what it has been asked, closes its connections, and its clients
go on over the other one."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from rethinkdb import r
from rethinkdb.errors import ReqlDriverError
from rethinkdb.net import Connection

from tests.chaos.test_front_crashes import FRONT, PATIENCE_S, TABLE, Writer, wait_for, wait_for_fronts
from tests.running_suite import RunningSuite
from tests.storage_nodes import storage_processes

WRITERS = 6
TRIES = 5
"""A front has 700 ms for what is due. Where the machine has a lot to do that may be too short, but not every time."""


class Statement(threading.Thread):
    """A write over a connection. `answer` is what comes back: the summary, or an error."""

    def __init__(self, connection: Connection, key: str) -> None:
        super().__init__(daemon=True)
        self.answer: Any = None
        self._connection = connection
        self._key = key

    def run(self) -> None:
        try:
            self.answer = TABLE.insert({"id": self._key}).run(self._connection)
        except Exception as error:
            self.answer = error


def drain(suite: RunningSuite, key: str, drained: set[int]) -> bool:
    """Have one front drained with a statement under way, which waits for storage. Returns whether that was answered."""
    storage = storage_processes(suite)[0]
    with contextlib.ExitStack() as stack:
        connection = r.connect("127.0.0.1", suite.driver_port)
        stack.callback(connection.close, noreply_wait=False)
        victim = FRONT.run(connection)
        drained.add(victim)
        os.kill(storage, signal.SIGSTOP)
        try:
            statement = Statement(connection, key)
            statement.start()
            time.sleep(0.1)  # should it not be there yet, then the next time
            os.kill(victim, signal.SIGTERM)
        finally:
            os.kill(storage, signal.SIGCONT)
        statement.join(PATIENCE_S)
        answered = isinstance(statement.answer, dict)
        assert answered or isinstance(statement.answer, ReqlDriverError), repr(statement.answer)
        with pytest.raises(ReqlDriverError):
            FRONT.run(connection)
    wait_for_fronts(suite.driver_port, drained)
    with contextlib.closing(r.connect("127.0.0.1", suite.driver_port)) as connection:
        assert not answered or TABLE.get(key).run(connection) is not None
    return answered


@pytest.mark.timeout(600)
def test_a_front_that_is_asked_to_end_answers_what_is_due_and_loses_nothing(tmp_path: Path) -> None:
    with RunningSuite(tmp_path / "data", processes=True, arguments=("--fronts", "2")) as suite:
        with contextlib.closing(r.connect("127.0.0.1", suite.driver_port)) as connection:
            r.table_create("written").run(connection)
        writers = [Writer(number, suite.driver_port) for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        drained = set[int]()
        answered = ended_well = False
        for number in range(TRIES):
            answered |= drain(suite, f"due {number}", drained)
            statuses = re.findall(r"starting again program=front\S* ended_with=(-?\d+)", suite.log)
            ended_well |= "0" in statuses
            goals = [len(writer.acknowledged) + 10 for writer in writers]
            wait_for(
                lambda goals=goals: all(
                    len(writer.acknowledged) >= goal for writer, goal in zip(writers, goals, strict=True)
                ),
                "progress of all writers",
            )
            if answered and ended_well:
                break
        assert answered
        assert ended_well
        for writer in writers:
            writer.ended.set()
        for writer in writers:
            writer.join(PATIENCE_S)
        errors = [error for writer in writers for error in writer.errors]
        assert all(isinstance(error, ReqlDriverError | OSError) for error in errors), errors
        with contextlib.closing(r.connect("127.0.0.1", suite.driver_port)) as connection:
            present = {row["id"]: row.get("n") for row in TABLE.run(connection)}
        for writer in writers:
            for key, value in writer.acknowledged.items():
                assert present[key] in {value, key // WRITERS}  # an update that failed may have been carried out
