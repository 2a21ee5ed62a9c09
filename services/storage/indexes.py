"""Secondary indexes: which entries a document has in them."""

from __future__ import annotations

from typing import Any

from photondb.api.catalogue import IndexInfo
from photondb.geo.cells import entry_keys
from photondb.reql.geo_steps import indexed_shapes
from photondb.reql.index_values import IndexValues
from services.storage import layout


class Index:
    """An index, compiled: the function of a document that gives what it is indexed by."""

    __slots__ = ("_values", "fields", "id", "info", "prefix")

    def __init__(self, table: int, info: IndexInfo) -> None:
        self.info = info
        self.id = info.id
        self.prefix = layout.entry_prefix(table, info.id)
        self._values = IndexValues.of_index(info)
        self.fields = self._values.func.fields
        """The top-level fields of a document that its entries depend on; None when they may depend on all."""

    def entries(self, primary: bytes, document: Any) -> set[bytes]:
        """The store keys of the document's entries. `primary` is its encoded primary key."""
        prefix = self.prefix
        return {prefix + key for key in self.entry_keys(primary, document)}

    def entry_keys(self, primary: bytes, document: Any) -> list[bytes]:
        """The entries' keys within the index."""
        seen: dict[bytes, int] = {}
        entries = []
        for key in self.index_keys(document):
            entry = key + primary
            repeat = seen.get(entry, 0)
            seen[entry] = repeat + 1
            entries.append(entry + repeat.to_bytes(4, "big") if repeat else entry)
        return entries

    def index_keys(self, document: Any) -> list[bytes]:
        """What the document is indexed by. An error of the function, or a value that cannot be a key, is no entry, as
        in RethinkDB; a multi index has an entry for each element of an array, as often as it is in it. A geo index has
        one for each of the cells that cover the document's shapes."""
        if self.info.geo:
            return entry_keys(indexed_shapes(self._values, document))
        return [key for key, _ in self._values.entries(document)]
