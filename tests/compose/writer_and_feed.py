"""A writer and a live query, which go on whatever happens to the suite that they use."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from rethinkdb import r
from rethinkdb.errors import ReqlError

from tests.compose.docker import PASSWORD

Connect = Callable[[], Any]
GIVE_UP_S = 60


def connection_to(ports: Callable[[], list[int]]) -> Any:
    """A connection of the official driver to one of the ports, asked for anew at each try."""
    ends = time.monotonic() + GIVE_UP_S
    while True:
        for port in ports():
            try:
                return r.connect("127.0.0.1", port, password=PASSWORD, timeout=5)
            except (ReqlError, OSError):
                if time.monotonic() > ends:
                    raise
        time.sleep(0.05)


class WriterAndFeed:
    """Inserts documents into the table `events`, which it makes with so many shards, one after the other, and follows
    the table.

    `acknowledged` are the ids of documents that the suite said were written, `seen` those that the feed gave. Whoever
    loses his connection makes another one; the feed resumes after the last change that it saw.
    """

    def __init__(self, ports: Callable[[], list[int]], shards: int = 1) -> None:
        self._ports = ports
        self._shards = shards
        self.acknowledged: list[int] = []
        self.seen: list[int] = []
        self.problems: list[Exception] = []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(work,)) for work in (self._write, self._follow)]
        self._next = 0
        self._position: str | None = None

    def __enter__(self) -> WriterAndFeed:
        with connection_to(self._ports) as conn:
            r.table_create("events", shards=self._shards).run(conn)
            feed = r.table("events").changes(include_position=True).run(conn)
            self._position = feed.next()["position"]
        for thread in self._threads:
            thread.start()
        self.make_progress()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def make_progress(self) -> None:
        """Return when more was written and that has been seen. Raises what the writer or the feed has failed with."""
        target = len(self.acknowledged) + 10
        ends = time.monotonic() + GIVE_UP_S
        while len(self.acknowledged) < target or self.acknowledged[target - 1] not in set(self.seen):
            if self.problems:
                raise self.problems[0]
            if time.monotonic() > ends:
                raise TimeoutError(f"{len(self.acknowledged)} written, {len(self.seen)} seen")
            time.sleep(0.02)

    def finish(self) -> None:
        """Write no more, and return when the feed has seen everything that was acknowledged."""
        self._ended.set()
        self._threads[0].join()
        ends = time.monotonic() + GIVE_UP_S
        while set(self.acknowledged) - set(self.seen):
            if time.monotonic() > ends:
                raise TimeoutError(f"the feed misses {sorted(set(self.acknowledged) - set(self.seen))[:10]}")
            time.sleep(0.05)
        # A last document, which is not counted, ends the feed's waiting.
        with connection_to(self._ports) as conn:
            r.table("events").insert({"id": -1}).run(conn)
        self._threads[1].join()

    def _run(self, work: Callable[[Any], None]) -> None:
        while not self._ended.is_set():
            try:
                with connection_to(self._ports) as conn:
                    work(conn)
            except (ReqlError, OSError):
                time.sleep(0.02)  # the connection was lost, or a service was: again
            except Exception as problem:
                self.problems.append(problem)
                return

    def _write(self, conn: Any) -> None:
        while not self._ended.is_set():
            number, self._next = self._next, self._next + 1  # what was not acknowledged is not repeated
            result = r.table("events").insert({"id": number}).run(conn)
            assert result["inserted"] == 1, result
            self.acknowledged.append(number)
            time.sleep(0.002)

    def _follow(self, conn: Any) -> None:
        feed = r.table("events").changes(include_position=True, resume=self._position).run(conn)
        for change in feed:
            self._position = change["position"]
            if "new_val" not in change:
                continue
            if change["new_val"]["id"] == -1:
                return
            self.seen.append(change["new_val"]["id"])
