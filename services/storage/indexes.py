"""Secondary indexes: which entries a document has in them."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Any

from photondb.api.catalogue import IndexInfo
from photondb.datum.errors import DatumError
from photondb.datum.json import dumps
from photondb.datum.keys import decode_key
from photondb.datum.text import print_datum
from photondb.geo.cells import entry_keys
from photondb.reql.geo_steps import indexed_shapes
from photondb.reql.index_values import IndexValues
from services.storage import layout

MAX_INDEX_KEY_BYTES = 32 << 10
"""How long what a document is indexed by may be, encoded. RocksDB has its keys in memory tables, in the indexes of its
files and in each block that is read: they are for what people search for, not for texts."""

Entries = dict[bytes, bytes]
"""Entries of an index: store keys with their values.

A value is the document's primary key. In a covering index its length comes first, in 2 bytes, and the JSON of what the
entry carries of the document comes behind it."""


class Index:
    """An index, compiled: the function of a document that gives what it is indexed by."""

    __slots__ = ("_values", "covering", "fields", "id", "info", "prefix")

    def __init__(self, table: int, info: IndexInfo) -> None:
        self.info = info
        self.id = info.id
        self.prefix = layout.entry_prefix(table, info.id)
        self._values = IndexValues.of_index(info)
        self.covering = bool(info.include) or info.include_all
        fields = self._values.func.fields
        self.fields = None if fields is None or info.include_all else fields.union(info.include)
        """The top-level fields of a document that its entries depend on; None when they may depend on all."""

    def entries(self, primary: bytes, document: Any, raw: bytes) -> Entries:
        """The document's entries. `primary` is its encoded primary key, `raw` its JSON as it is stored."""
        prefix = self.prefix
        value = self._carrying(primary, document, raw) if self.covering else primary
        return {prefix + key: value for key in self.entry_keys(primary, document)}

    def _carrying(self, primary: bytes, document: Any, raw: bytes) -> bytes:
        if not self.info.include_all:
            raw = dumps({name: document[name] for name in self.info.include if name in document})
        return len(primary).to_bytes(2, "big") + primary + raw

    def primary_of(self, value: bytes) -> bytes:
        """The encoded primary key in the value of an entry."""
        return value[2 : 2 + int.from_bytes(value[:2], "big")] if self.covering else value

    def carried_in(self, value: bytes) -> bytes:
        """The JSON of what the value of an entry of a covering index carries of its document."""
        return value[2 + int.from_bytes(value[:2], "big") :]

    def covers(self, fields: frozenset[str] | None) -> bool:
        """Whether its entries carry these fields of documents (None: whole documents)."""
        if fields is None or self.info.include_all:
            return self.info.include_all
        return self.covering and fields.issubset(self.info.include)

    def check_length(self, primary: bytes, document: Any) -> None:
        """Raise DatumError when something that the document is indexed by is too long."""
        longest = max(map(len, self.index_keys(document)), default=0)
        if longest > MAX_INDEX_KEY_BYTES:
            raise DatumError(
                f"Index key too long: the document with the primary key {print_datum(decode_key(primary))} has a key "
                f"of {longest:,} bytes in the index `{self.info.name}`, and the limit is {MAX_INDEX_KEY_BYTES:,} bytes."
            )

    def entry_keys(self, primary: bytes, document: Any) -> list[bytes]:
        """The entries' keys within the index."""
        keys = self.index_keys(document)
        if len(keys) == 1:
            return [keys[0] + primary]
        seen: dict[bytes, int] = {}
        entries = []
        for key in keys:
            entry = key + primary
            repeat = seen.get(entry, 0)
            seen[entry] = repeat + 1
            entries.append(entry + repeat.to_bytes(4, "big") if repeat else entry)
        return entries

    def index_keys(self, document: Any) -> list[bytes]:
        """What the document is indexed by. An error of the function, or a value that cannot be a key, is no entry, as
        in RethinkDB; a multi index has an entry for each element of an array, as often as it is in it. A geo index has
        one for each of the cells that cover the document's shapes. A complete index has an entry for documents whose
        value cannot be a key, or is no geometry, too."""
        if self.info.geo:
            cells = entry_keys(indexed_shapes(self._values, document))
            return [*cells, *self._values.apart_from_geometry(document)] if self.info.complete else cells
        if self.info.complete:
            return self._values.complete_keys(document, self.info.lists_lacking)
        return [key for key, _ in self._values.entries(document)]


class EntryChanges:
    """What a change of a document changes in indexes: the entries that go, and those that come with their values."""

    __slots__ = ("gone", "put")

    def __init__(self) -> None:
        self.gone: list[bytes] = []
        self.put: list[tuple[bytes, bytes]] = []


def entry_changes(
    indexes: Iterable[Index],
    primary: bytes,
    old: Any,
    new: Any,
    old_json: bytes | None,
    new_json: bytes | None,
    touched: AbstractSet[str] | None = None,
) -> EntryChanges:
    """What putting the document `new` in the place of `old` (None is no document) changes in `indexes`.

    `old_json` and `new_json` are the two as they are stored. `touched` are the only top-level fields in which they may
    differ, None when any may. Raises DatumError for a key that comes and is too long; one that there is already stays,
    as in an index that is still to be built.
    """
    changes = EntryChanges()
    for index in indexes:
        if touched is not None and index.fields is not None and index.fields.isdisjoint(touched):
            continue
        before = _NONE if old is None or old_json is None else index.entries(primary, old, old_json)
        after = _NONE if new is None or new_json is None else index.entries(primary, new, new_json)
        for entry in before:
            if entry not in after:
                changes.gone.append(entry)
        for entry, value in after.items():
            present = before.get(entry)
            if present != value:
                if len(entry) > MAX_INDEX_KEY_BYTES and present is None:
                    index.check_length(primary, new)
                changes.put.append((entry, value))
    return changes


_NONE: Entries = {}
