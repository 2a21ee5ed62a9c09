"""A chunk of rows on its way: as raw JSON where nobody needed the values, as datums where somebody did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from photondb.datum.json import dumps, dumps_computed, loads_stored
from photondb.datum.size import check_size
from photondb.reql.measures import ScanMeasures

_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Chunk:
    """Some rows, in order. Conversions between JSON and datums happen when asked for, once."""

    __slots__ = ("_blob", "_count", "_raw", "_values", "measures")

    def __init__(self, raw: Sequence[bytes] | None, values: list[Any] | None, blob: bytes | None, count: int) -> None:
        self._raw = raw
        self._values = values
        self._blob = blob
        self._count = count
        self.measures: ScanMeasures | None = None
        """What came of the scan so far, where that was asked for."""

    @classmethod
    def of_raw(cls, rows: Sequence[bytes]) -> Chunk:
        """A chunk of rows that are JSON documents."""
        return cls(rows, None, None, len(rows))

    @classmethod
    def of_values(cls, values: list[Any]) -> Chunk:
        """A chunk of datums."""
        return cls(None, values, None, len(values))

    @classmethod
    def of_blob(cls, blob: bytes, count: int) -> Chunk:
        """A chunk of `count` rows that are JSON joined by commas, as it crosses the wire."""
        return cls(None, None, blob, count)

    def __len__(self) -> int:
        return self._count

    def values(self) -> list[Any]:
        """The rows as datums."""
        if self._values is None:
            self._values = loads_stored(b"[" + self.json() + b"]")
        return self._values

    def rows(self) -> Sequence[bytes]:
        """The rows as JSON, one by one."""
        if self._raw is None:
            if self._values is not None:
                check_size(self._values)
                self._raw = [dumps(value) for value in self._values]
            else:
                self._raw = [bytes(row) for row in _split(b"[" + self.json() + b"]")]
        return self._raw

    def json(self) -> bytes:
        """The rows as JSON, joined by commas, without brackets."""
        if self._blob is None:
            if self._raw is not None:
                self._blob = b",".join(self._raw)
            else:
                assert self._values is not None
                self._blob = dumps_computed(self._values)[1:-1]
        return self._blob

    def head(self, count: int) -> Chunk:
        """The first `count` rows."""
        if count >= self._count:
            return self
        if self._raw is not None:
            return Chunk.of_raw(self._raw[:count])
        return Chunk.of_values(self.values()[:count])

    def tail(self, start: int) -> Chunk:
        """The rows from position `start` on."""
        if start <= 0:
            return self
        if self._raw is not None:
            return Chunk.of_raw(self._raw[start:])
        return Chunk.of_values(self.values()[start:])

    def size(self) -> int:
        """Bytes of JSON."""
        if self._raw is not None:
            return sum(map(len, self._raw)) + len(self._raw)
        return len(self.json())


EMPTY = Chunk.of_raw(())
