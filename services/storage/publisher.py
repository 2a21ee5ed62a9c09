"""Tells the bus what was committed and what the catalogue is."""

from __future__ import annotations

from collections.abc import Mapping

from photondb.api.storage import CATALOGUE_SUBJECT, CHANGES_SUBJECT, LogRecord
from photondb.bus import Bus
from photondb.rpc.events import ChangeBatch, encode_change_batch
from photondb.telemetry import tracing
from photondb.telemetry.operations import PUBLISH
from photondb.telemetry.trace_context import TRACEPARENT
from services.storage import layout
from services.storage.commit import Commit
from services.storage.tables import Table


class Publisher:
    """Publishes commits as they become durable. Messages for which there is no subscriber are not made."""

    def __init__(self, bus: Bus, tables: Mapping[int, Table]) -> None:
        self._bus = bus
        self._tables = tables
        self._version = 0
        bus.on_gap(self.announce_positions)

    def commit(self, commit: Commit) -> None:
        """Publish the changes of a commit."""
        for changes in commit.changes.values():
            uuid = changes.table.info.uuid
            if not self._bus.has_subscribers(_subject(uuid)):
                continue
            first, time_us = changes.first_sequence, commit.time_us
            records = [
                LogRecord(first + number, time_us, key, old, new)
                for number, (key, old, new) in enumerate(changes.records)
            ]
            with tracing.span_of(PUBLISH, commit.traceparent) as span:
                self._publish(ChangeBatch(uuid, layout.SHARD, first, time_us, records), span.context())

    def catalogue(self, version: int) -> None:
        """Publish that the catalogue has changed."""
        self._version = version
        self._bus.publish_nowait(CATALOGUE_SUBJECT, b"%d" % version)

    def announce_positions(self) -> None:
        """Messages may have been lost. A subscriber sees from an empty batch what the last record is."""
        for table in self._tables.values():
            position = table.position
            self._publish(ChangeBatch(table.info.uuid, layout.SHARD, position.sequence + 1, position.time_us, ()))
        self.catalogue(self._version)

    def _publish(self, batch: ChangeBatch, traceparent: str = "") -> None:
        headers = {TRACEPARENT: traceparent} if traceparent else None
        self._bus.publish_nowait(_subject(batch.table_uuid), encode_change_batch(batch), headers)


def _subject(table_uuid: str) -> str:
    return CHANGES_SUBJECT.format(table_uuid=table_uuid, shard=layout.SHARD)
