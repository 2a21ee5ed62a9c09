"""Tells the bus what was committed and what the catalogue is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from math import inf

from photondb.api.context import SpanNames
from photondb.api.storage import CATALOGUE_SUBJECT, LogRecord
from photondb.bus import Bus
from photondb.rpc.events import ChangeBatch
from photondb.telemetry import tracing
from photondb.telemetry.operations import PUBLISH
from photondb.telemetry.trace_context import TRACEPARENT, write_traceparents
from services.storage.commit import Commit
from services.storage.tables import Table

MAX_BATCH_BYTES = 256 << 10
"""A message that has about this much to say, in bytes of documents, does not wait for more."""


class Publisher:
    """Publishes commits as they become durable. Those that come faster than the bus likes messages share one. Messages
    for which there is no subscriber are not made."""

    def __init__(self, bus: Bus, tables: Mapping[int, Table], *, is_home: bool) -> None:
        self._bus = bus
        self._interval_s = bus.message_interval_s
        self._tables = tables
        self._is_home = is_home
        self._version = 0
        self._waiting: dict[Table, list[LogRecord]] = {}
        self._waiting_bytes = 0
        self._timer: asyncio.Handle | None = None
        self._published_at = -inf
        bus.on_gap(self.announce_positions)

    def commit(self, commit: Commit) -> None:
        """Publish the changes of a commit, at once or soon."""
        gathers = self._interval_s and not commit.spans  # a trace has its own messages
        if not gathers:
            self.flush()
        for changes in commit.changes.values():
            table = changes.table
            if table.info.copy_of or not self._bus.has_subscribers(table.subject):
                continue
            time_us = commit.time_us
            records = [
                LogRecord(sequence, time_us, key, old, new)
                for sequence, (key, old, new) in enumerate(changes.records, changes.first_sequence)
            ]
            if gathers:
                self._gather(table, records)
            elif commit.spans:
                with tracing.span_of(PUBLISH, commit.spans) as span:
                    self._publish(table, records[0].sequence, records, span.names)
            else:
                self._publish(table, records[0].sequence, records)
        if gathers and self._waiting:
            self._flush_soon(commit.size)

    def _gather(self, table: Table, records: list[LogRecord]) -> None:
        waiting = self._waiting.get(table)
        if waiting and waiting[-1].sequence + 1 != records[0].sequence:  # nobody had subscribed for a while
            self.flush()
            waiting = None
        if waiting is None:
            self._waiting[table] = records
        else:
            waiting += records

    def _flush_soon(self, size: int) -> None:
        self._waiting_bytes += size
        if self._waiting_bytes > MAX_BATCH_BYTES:
            self.flush()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            due = self._published_at + self._interval_s
            self._timer = loop.call_soon(self.flush) if due <= loop.time() else loop.call_at(due, self.flush)

    def flush(self) -> None:
        """Publish what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            waiting, self._waiting, self._waiting_bytes = self._waiting, {}, 0
            for table, records in waiting.items():
                self._publish(table, records[0].sequence, records)
            self._published_at = asyncio.get_running_loop().time()

    def catalogue(self, version: int) -> None:
        """Publish that the catalogue has changed."""
        self._version = version
        self._bus.publish_nowait(CATALOGUE_SUBJECT, b"%d" % version)

    def announce_positions(self) -> None:
        """Messages may have been lost. A subscriber sees from an empty batch what the last record is."""
        for table in self._tables.values():
            if table.info.copy_of:
                continue
            self._publish(table, table.position.sequence + 1, [])
        if self._is_home:
            self.catalogue(self._version)

    def _publish(self, table: Table, first: int, records: list[LogRecord], spans: SpanNames = ()) -> None:
        headers = {TRACEPARENT: write_traceparents(spans)} if spans else None
        self._bus.publish_nowait(table.subject, ChangeBatch(table.info.uuid, table.shard, first, records), headers)
