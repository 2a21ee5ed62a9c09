"""The system database `rethinkdb`: virtual tables, whose rows are worked out when they are read.

A system table has a `TableInfo` like any other, with an id below zero, so that all terms work on it; `Runtime` turns
to this module where it would turn to storage. Each table exists twice, with databases and servers named by name or by
id, as the optional argument `identifier_format` of `table` chooses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from photondb.api.auth import system_table_uuid
from photondb.api.catalogue import TableInfo
from photondb.reql.configuration import IdentifierFormat
from photondb.reql.names import SYSTEM_DATABASE

if TYPE_CHECKING:
    from photondb.reql.runtime import Runtime

Row = dict[str, Any]
Rows = Callable[["Runtime", IdentifierFormat], list[Row]]


class SystemTable:
    """A system table: `rows` works out all of its rows."""

    def __init__(self, name: str, rows: Rows, primary_key: str) -> None:
        self.name = name
        self.rows = rows
        self.primary_key = primary_key

    def info(self, table_id: int) -> TableInfo:
        """The table as the language sees it."""
        return TableInfo(
            id=table_id,
            uuid=system_table_uuid(self.name),
            name=self.name,
            database=SYSTEM_DATABASE,
            primary_key=self.primary_key,
            durability="soft",
        )


_tables: dict[int, tuple[SystemTable, IdentifierFormat]] = {}
_infos: dict[tuple[str, IdentifierFormat], TableInfo] = {}


def find(name: str, identifiers: IdentifierFormat) -> TableInfo | None:
    """The system table of that name."""
    return _infos.get((name, identifiers))


def visible_names() -> list[str]:
    """The names of the system tables that are shown, in order."""
    return sorted({name for name, _ in _infos if not name.startswith("_")})
