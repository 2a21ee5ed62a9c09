"""A changed document as feeds look at it: decoded, and indexed, when the first of them asks and for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from photondb.api.catalogue import IndexInfo
from photondb.api.context import SpanNames
from photondb.api.storage import LogRecord
from photondb.datum.json import loads_stored
from photondb.reql.index_values import IndexValues


class Document:
    """One state of a document. `raw` is its JSON."""

    __slots__ = ("_index_keys", "_value", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._value: Any = ...
        self._index_keys: dict[int, list[bytes]] = {}

    @property
    def value(self) -> Any:
        """The document as a datum. Nobody may change it."""
        if self._value is ...:
            self._value = loads_stored(self.raw)
        return self._value

    def part(self, decode: Callable[[bytes], Any]) -> Any:
        """Some fields of the document, which `decode` takes out of it; all where they are known already."""
        return decode(self.raw) if self._value is ... else self._value

    def index_keys(self, index: Index) -> list[bytes]:
        """The keys of its entries in an index; equal ones as often as there are such entries."""
        keys = self._index_keys.get(index.id)
        if keys is None:
            keys = self._index_keys[index.id] = [key for key, _ in index.values.entries(self.value)]
        return keys


class Index:
    """A secondary index, compiled."""

    __slots__ = ("id", "name", "values")

    def __init__(self, info: IndexInfo) -> None:
        self.id = info.id
        self.name = info.name
        self.values = IndexValues.of_index(info)


class Row:
    """One committed change: the document's key, and the document before and after. `spans` are those that received it,
    where its commit is traced."""

    __slots__ = ("_documents", "_record", "key", "sequence", "shard", "spans", "time_us")

    def __init__(self, shard: int, record: LogRecord, spans: SpanNames = ()) -> None:
        self.spans = spans
        self.shard = shard
        self.sequence = record.sequence
        self.time_us = record.time_us
        self.key = record.key
        self._record = record
        self._documents: tuple[Document | None, Document | None] | None = None

    @property
    def documents(self) -> tuple[Document | None, Document | None]:
        """The document before and after."""
        if self._documents is None:
            old, new = self._record.old, self._record.new
            self._documents = None if old is None else Document(old), None if new is None else Document(new)
        return self._documents

    @property
    def old(self) -> Document | None:
        """The document before."""
        return self.documents[0]

    @property
    def new(self) -> Document | None:
        """The document after."""
        return self.documents[1]
