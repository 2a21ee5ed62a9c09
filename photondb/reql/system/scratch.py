"""The system table `_debug_scratch`: a table in memory that keeps whatever is written to it, for tests of clients."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from photondb.datum.keys import primary_key
from photondb.reql.configuration import IdentifierFormat
from photondb.reql.runtime import Runtime
from photondb.reql.system_tables import Change, Row, system_table

_rows: WeakKeyDictionary[object, dict[bytes, Row]] = WeakKeyDictionary()
"""The rows by service and primary key."""


@system_table("_debug_scratch")
def scratch(runtime: Runtime, identifiers: IdentifierFormat) -> list[Row]:
    """What has been written."""
    return list(_rows.get(runtime.service, {}).values())


@scratch.writer
def write_scratch(runtime: Runtime, change: Change) -> Row | None:
    """Keep a row, or forget it."""
    rows = _rows.setdefault(runtime.service, {})
    if change.new is not None:
        rows[primary_key(change.new["id"])] = change.new
    elif change.old is not None:
        rows.pop(primary_key(change.old["id"]), None)
    return change.new
