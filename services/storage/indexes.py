"""Secondary indexes: which entries a document has in them."""

from __future__ import annotations

from typing import Any

from photondb.api.catalogue import IndexInfo
from photondb.datum.errors import DatumError
from photondb.datum.keys import secondary_key
from photondb.datum.types import reql_type
from photondb.reql.errors import ReqlError
from photondb.reql.function import Func
from services.storage import layout

EVERYWHERE = b"G"
"""The index key of every shape in a geo index. The whole earth is one cell: a query looks at all of them."""


class Index:
    """An index, compiled: the function of a document that gives what it is indexed by."""

    __slots__ = ("fields", "func", "geo", "id", "info", "multi", "prefix")

    def __init__(self, table: int, info: IndexInfo) -> None:
        self.info = info
        self.id = info.id
        self.multi = info.multi
        self.geo = info.geo
        self.prefix = layout.entry_prefix(table, info.id)
        self.func = Func.from_wire(info.function)
        self.fields = self.func.fields
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
        in RethinkDB; a multi index has an entry for each element of an array, as often as it is in it."""
        try:
            value = self.func.call(document)
        except (ReqlError, DatumError):
            return []
        values = value if self.multi and type(value) is list else (value,)
        key_of = _geo_key if self.geo else secondary_key
        keys = []
        for element in values:
            try:
                keys.append(key_of(element))
            except DatumError:
                continue
        return keys


def _geo_key(value: Any) -> bytes:
    if reql_type(value) != "GEOMETRY":
        raise DatumError("A geo index holds geometry only.")
    return EVERYWHERE
