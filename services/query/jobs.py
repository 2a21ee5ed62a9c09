"""Queries that are being worked on, as the system table `jobs` shows them and as they are ended from outside."""

from __future__ import annotations

import time
import uuid
from typing import Any

import orjson

from photondb.api.query import Request
from photondb.reql.errors import ErrorKind, ReqlError, resource_limit
from photondb.reql.javascript_text import query_text
from photondb.reql.runtime import Runtime
from services.query.sessions import Session

MAX_SHOWN_BYTES = 16 * 1024
"""Queries that are longer are shown as the beginning of their JSON."""


class Job:
    """One query, from its start until its last answer; between the batches of a cursor nobody works on it.

    `ended_by` is the error that it was ended with from outside, which is its next answer.
    """

    __slots__ = ("_id", "_session", "batch_started", "ended_by", "request", "runtime", "started")

    def __init__(self, session: Session, request: Request, runtime: Runtime) -> None:
        self._id = ""
        self.request = request
        self._session = session
        self.runtime = runtime
        self.started = self.batch_started = time.monotonic()
        self.ended_by: ReqlError | None = None

    @property
    def id(self) -> str:
        """A random uuid, which it keeps."""
        if not self._id:
            self._id = str(uuid.uuid4())
        return self._id

    @property
    def user(self) -> str:
        """Whose it is."""
        return self.request.context.user

    @property
    def client(self) -> str:
        """The address of the client, `host:port`, if the gateway has told it."""
        return self._session.client

    @property
    def query(self) -> str:
        """The query, as it would be written in JavaScript."""
        payload = self.request.payload
        if len(payload) > MAX_SHOWN_BYTES:
            return payload[:MAX_SHOWN_BYTES].decode("utf-8", "ignore") + "..."
        envelope: list[Any] = orjson.loads(payload)
        return query_text(envelope[1])

    def report(self) -> dict[str, Any]:
        """What an operator may want to know of it."""
        now = time.monotonic()
        task = self._session.running.get(self.request.token)
        memory = self.runtime.memory
        return {
            "id": self.id,
            "user": self.user,
            "client": self.client,
            "family": self.runtime.family,
            "query": self.query,
            "seconds": round(now - self.started, 6),
            "running": task is not None,
            "running_seconds": None if task is None else round(now - self.batch_started, 6),
            "memory_bytes": 0 if memory is None else memory.used,
            "spilled_bytes": 0 if memory is None else memory.spilled_bytes,
        }

    def overdue(self, now: float, limit_s: float) -> bool:
        """Whether it has been worked on for longer than it may."""
        return now - self.batch_started > limit_s and not self.runtime.untimed and self.ended_by is None

    def end(self, error: ReqlError) -> None:
        """End it with an error: at once where it waits, else when it next lets others go on or is asked for more."""
        self.ended_by = error
        task = self._session.running.get(self.request.token)
        if task is not None:
            task.cancel()

    def interrupt(self) -> None:
        """End it because somebody deleted it from the system table `jobs`."""
        self.end(ReqlError(ErrorKind.OP_INDETERMINATE, "Query terminated by the `rethinkdb.jobs` table.", ()))

    def time_out(self, limit_s: float) -> None:
        """End it because its time is up."""
        error = resource_limit(f"The query took longer than its time limit of {limit_s:g} seconds.")
        error.frames = ()
        self.end(error)
