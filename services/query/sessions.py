"""What the query service keeps for a client connection: its cursors and its running queries."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from services.query.cursors import Cursor

if TYPE_CHECKING:
    from services.query.jobs import Job

MAX_CURSORS = 10_000
"""Cursors that one connection may have open."""


class Session:
    """One client connection, of the client at the address `client` (host:port).

    `jobs` are its queries by token, until they are answered for the last time. `running` are the tasks of those under
    way that have had to wait, `noreply` those of them that nobody will hear of.
    """

    __slots__ = ("client", "cursors", "jobs", "noreply", "number", "running")

    def __init__(self, number: int) -> None:
        self.number = number
        self.client = ""
        self.jobs: dict[int, Job] = {}
        self.cursors: dict[int, Cursor] = {}
        self.running: dict[int, asyncio.Task[Any]] = {}
        self.noreply: set[asyncio.Future[None]] = set()

    def forget(self, token: int) -> None:
        """A query has been answered for the last time, or nobody waits for its answer any more."""
        job = self.jobs.pop(token, None)
        if job is not None:
            job.runtime.close()

    def end(self) -> None:
        """Cancel what runs and free the cursors. One that is fetching is freed by the cancellation."""
        for task in (*self.running.values(), *self.noreply):
            task.cancel()
        for token, cursor in self.cursors.items():
            if token not in self.running:
                cursor.close()
        for token in list(self.jobs):
            self.forget(token)
        self.running.clear()
        self.cursors.clear()
