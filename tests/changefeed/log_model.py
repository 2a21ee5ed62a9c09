"""A shard's log as tests imagine it: numbered records of a few documents."""

from __future__ import annotations

from collections.abc import Sequence

from photondb.api.storage import LogRecord
from photondb.datum.json import dumps
from photondb.datum.keys import primary_key


class ModelLog:
    """Records of changes, and the documents that they add up to."""

    def __init__(self) -> None:
        self.records: list[LogRecord] = []
        self.documents: dict[int, dict[str, object]] = {}

    @property
    def last(self) -> int:
        return len(self.records)

    def write(self, key: int, fields: dict[str, object] | None) -> LogRecord | None:
        """Put the document `key`, or delete it (None). What changes nothing makes no record."""
        old = self.documents.get(key)
        new = None if fields is None else {"id": key, **fields}
        if old == new:
            return None
        if new is None:
            del self.documents[key]
        else:
            self.documents[key] = new
        number = len(self.records) + 1
        record = LogRecord(number, number, primary_key(key), old and dumps(old), new and dumps(new))
        self.records.append(record)
        return record

    def after(self, sequence: int, limit: int) -> Sequence[LogRecord]:
        return self.records[sequence : sequence + limit]
