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

    __slots__ = ("_blob", "_count", "_raw", "_values", "keys", "measures")

    def __init__(self, raw: Sequence[bytes] | None, values: list[Any] | None, blob: bytes | None, count: int) -> None:
        self._raw = raw
        self._values = values
        self._blob = blob
        self._count = count
        self.measures: ScanMeasures | None = None
        """What came of the scan so far, where that was asked for."""
        self.keys: Sequence[bytes] | None = None
        """The place of each row in the order of the scan, where that was asked for."""

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

    @property
    def is_json(self) -> bool:
        """Whether nobody has needed the values yet."""
        return self._values is None

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

    def json_within(self, head: bytes, tail: bytes) -> bytes:
        """The same between `head` and `tail`. Rows are copied but once for that."""
        raw = self._raw
        if self._blob is not None or not raw:
            return b"%b%b%b" % (head, self.json(), tail)
        parts = list(raw)
        parts[0] = head + parts[0]
        parts[-1] += tail
        return b",".join(parts)

    def head(self, count: int) -> Chunk:
        """The first `count` rows."""
        return self if count >= self._count else self._part(0, count)

    def tail(self, start: int) -> Chunk:
        """The rows from position `start` on."""
        return self if start <= 0 else self._part(start, self._count)

    def _part(self, start: int, end: int) -> Chunk:
        if self._raw is not None:
            part = Chunk.of_raw(self._raw[start:end])
        else:
            part = Chunk.of_values(self.values()[start:end])
        if self.keys is not None:
            part.keys = self.keys[start:end]
        return part

    def size(self) -> int:
        """Bytes of JSON."""
        if self._raw is not None:
            return sum(map(len, self._raw)) + len(self._raw)
        return len(self.json())


EMPTY = Chunk.of_raw(())


def joined(chunks: Sequence[Chunk], raw: bool) -> Chunk:
    """All rows of some chunks in one: as JSON where they are `raw`, else as datums."""
    if len(chunks) <= 1:
        return chunks[0] if chunks else EMPTY
    if raw:
        whole = Chunk.of_blob(b",".join([chunk.json() for chunk in chunks if chunk]), sum(map(len, chunks)))
    else:
        whole = Chunk.of_values([value for chunk in chunks for value in chunk.values()])
    if any(chunk.keys is not None for chunk in chunks):
        whole.keys = [key for chunk in chunks for key in chunk.keys or ()]
    return whole
