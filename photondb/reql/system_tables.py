"""The system database `rethinkdb`: virtual tables, whose rows are worked out when they are read.

A system table has a `TableInfo` like any other, with an id below zero, so that all terms work on it; `Runtime` turns
to this module where it would turn to storage. Each table exists twice, with databases and servers named by name or by
id, as the optional argument `identifier_format` of `table` chooses. The tables themselves are in the package
`photondb.reql.system`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from photondb.api.auth import system_table_uuid
from photondb.api.catalogue import TableInfo
from photondb.api.storage import Scan, ScanReply, Write, WriteSummary
from photondb.datum.errors import DatumError
from photondb.datum.json import dumps
from photondb.datum.keys import decode_key, primary_key
from photondb.datum.merge import merge
from photondb.datum.order import equal
from photondb.datum.text import print_datum
from photondb.datum.types import type_name
from photondb.reql.configuration import IdentifierFormat
from photondb.reql.errors import ErrorKind, ReqlError, op_failed
from photondb.reql.names import SYSTEM_DATABASE
from photondb.reql.pipeline import Pipeline
from photondb.reql.write_statements import with_generated_keys
from photondb.reql.write_summary import add_failure

if TYPE_CHECKING:
    from photondb.reql.runtime import Runtime

Row = dict[str, Any]


class Change:
    """What somebody wants to do to a row: `old` is None where there is none, `new` where it shall be deleted.
    `generated` says that the primary key is a new uuid that nobody chose."""

    __slots__ = ("generated", "identifiers", "new", "old")

    def __init__(self, old: Row | None, new: Row | None, identifiers: IdentifierFormat, generated: bool) -> None:
        self.old = old
        self.new = new
        self.identifiers = identifiers
        self.generated = generated


ReadRows = Callable[["Runtime", IdentifierFormat], list[Row]]
FindRow = Callable[["Runtime", Any], Row | None]
WriteRow = Callable[["Runtime", Change], Row | None]


class SystemTable:
    """A system table: `rows` works out all of its rows; `write` carries a change out, or raises, and gives the row that
    has come of it.

    A `personal` one shows each user only rows of his own, so that nobody needs a permission for it. A change that it
    refuses is an error of the whole query, where otherwise it is only counted.

    `row`, where there is one, finds a single row by its primary key without working out all of them."""

    def __init__(self, name: str, rows: ReadRows, primary_key: str = "id", personal: bool = False) -> None:
        self.name = name
        self.personal = personal
        self.row: FindRow | None = None
        self.rows = rows
        self.primary_key = primary_key
        self.write: WriteRow = self._refuse

    def finder(self, find: FindRow) -> FindRow:
        """Register the function that finds one row (a decorator)."""
        self.row = find
        return find

    def writer(self, write: WriteRow) -> WriteRow:
        """Register the function that changes rows (a decorator)."""
        self.write = write
        return write

    def _refuse(self, runtime: Runtime, change: Change) -> Row | None:
        raise op_failed(f"It's illegal to write to the `{SYSTEM_DATABASE}.{self.name}` table.")


_tables: dict[int, tuple[SystemTable, IdentifierFormat]] = {}
_infos: dict[tuple[str, IdentifierFormat], TableInfo] = {}


def system_table(name: str, *, personal: bool = False) -> Callable[[ReadRows], SystemTable]:
    """Register a function that works out the rows of the system table `name` (a decorator)."""

    def register(rows: ReadRows) -> SystemTable:
        table = SystemTable(name, rows, personal=personal)
        for identifiers in ("name", "uuid"):
            table_id = -1 - len(_tables)
            _tables[table_id] = (table, identifiers)
            _infos[name, identifiers] = TableInfo(
                id=table_id,
                uuid=system_table_uuid(name),
                name=name,
                database=SYSTEM_DATABASE,
                primary_key=table.primary_key,
                durability="soft",
            )
        return table

    return register


def is_system(info: TableInfo) -> bool:
    """Whether a table is a system table."""
    return info.id < 0


def is_personal(info: TableInfo) -> bool:
    """Whether a table is a system table that shows each user his own rows."""
    return is_system(info) and _tables[info.id][0].personal


def find(name: str, identifiers: IdentifierFormat) -> TableInfo | None:
    """The system table of that name."""
    return _infos.get((name, identifiers))


def refuse(database: str, why: str) -> None:
    """Raise where something is to be done to the system database that cannot be."""
    if database == SYSTEM_DATABASE:
        raise op_failed(f"Database `{SYSTEM_DATABASE}` is special; {why}")


def visible_names() -> list[str]:
    """The names of the system tables that are shown, in order."""
    return sorted({name for name, _ in _infos if not name.startswith("_")})


# --- reading


def count_rows(runtime: Runtime, info: TableInfo) -> int:
    """How many rows a system table has."""
    return len(_keyed_rows(runtime, info))


def read_row(runtime: Runtime, info: TableInfo, key: Any) -> Row | None:
    """The row with that primary key, or None."""
    return _keyed_row(runtime, info, primary_key(key))


def scan(runtime: Runtime, info: TableInfo, wanted: Scan) -> ScanReply:
    """Do a scan, all of it at once."""
    rows = _keyed_rows(runtime, info)
    keys = sorted(rows, reverse=wanted.descending)
    chosen: list[bytes] = []
    for bounds in reversed(wanted.ranges) if wanted.descending else wanted.ranges:
        for key in keys:
            if bounds.low <= key < bounds.high:
                chosen += [dumps(rows[key])] * bounds.repeat
    pipeline = Pipeline(wanted.steps, wanted.aggregate, wanted.limit)
    chunk = pipeline.feed(chosen)
    return ScanReply(chunk) if wanted.aggregate is None else ScanReply(partial=pipeline.partial())


def json_rows(runtime: Runtime, info: TableInfo) -> dict[bytes, bytes]:
    """All rows as JSON, by encoded primary key."""
    return {key: dumps(row) for key, row in _keyed_rows(runtime, info).items()}


def _keyed_rows(runtime: Runtime, info: TableInfo) -> dict[bytes, Row]:
    table, identifiers = _tables[info.id]
    return {primary_key(row[table.primary_key]): row for row in table.rows(runtime, identifiers)}


def _keyed_row(runtime: Runtime, info: TableInfo, key: bytes) -> Row | None:
    table, _ = _tables[info.id]
    return _keyed_rows(runtime, info).get(key) if table.row is None else table.row(runtime, decode_key(key))


# --- writing, by the rules that storage has for documents


def write(runtime: Runtime, info: TableInfo, writes: Sequence[Write]) -> list[WriteSummary]:
    """Carry statements out, row by row."""
    return [_Statement(runtime, info, statement).run() for statement in writes]


class _Statement:
    def __init__(self, runtime: Runtime, info: TableInfo, statement: Write) -> None:
        self.runtime = runtime
        self.table, self.identifiers = _tables[info.id]
        self.statement = statement
        self.summary = WriteSummary(changes=[] if statement.return_changes else None)
        self.info = info

    def run(self) -> WriteSummary:
        statement = self.statement
        if statement.kind == "insert":
            documents, keys = with_generated_keys(statement.documents, self.table.primary_key)
            generated = set(keys)
            self.summary.generated_keys = list(keys) or None
            for document in documents:
                self._attempt(lambda document=document: self._insert(document, generated))  # type: ignore[misc]
        else:
            for key in statement.keys:
                self._attempt(lambda key=key: self._change(key))  # type: ignore[misc]
        return self.summary

    def _attempt(self, write_one: Callable[[], None]) -> None:
        self.old: Row | None = None
        try:
            write_one()
        except (ReqlError, DatumError) as error:
            if self.table.personal or (isinstance(error, ReqlError) and error.kind == ErrorKind.PERMISSION):
                raise
            old = None if self.old is None else dumps(self.old)
            add_failure(self.summary, error.message, old, self.statement.return_changes)

    def _insert(self, document: Any, generated: set[str]) -> None:
        name = self.table.primary_key
        if type(document) is not dict:
            raise DatumError(f"Expected type OBJECT but found {type_name(document)}.")
        if name not in document:
            raise _without_primary_key(name, document)
        key = primary_key(document[name])
        old = self.old = _keyed_row(self.runtime, self.info, key)
        conflict = self.statement.conflict
        new: Any = document
        if old is not None:
            if conflict == "ignore":
                self.summary.skipped += 1
                return
            if conflict == "error":
                raise DatumError(f"Duplicate primary key `{name}`:\n{print_datum(old)}\n{print_datum(document)}")
            if conflict == "update":
                new = merge(old, document)
            elif conflict != "replace":
                new = conflict.call(name, old, document)
        self._settle(key, new, type(document[name]) is str and document[name] in generated)

    def _change(self, key: bytes) -> None:
        old = self.old = _keyed_row(self.runtime, self.info, key)
        function = self.statement.function
        new: Any = None
        if self.statement.kind == "update" and old is not None:
            assert function is not None
            patch = function.call(old)
            new = old if patch is None else merge(old, patch)
        elif self.statement.kind == "replace":
            assert function is not None
            new = function.call(old)
        self._settle(key, new, False)

    def _settle(self, key: bytes, new: Any, generated: bool) -> None:
        old, summary = self.old, self.summary
        wanted = new  # what has come of it may look like the old row: nobody is shown a password
        if new is not None:
            self._check(key, new)
        if old is not None or new is not None:
            new = self.table.write(self.runtime, Change(old, new, self.identifiers, generated))
        changed = not equal(old, wanted)
        if old is None:
            outcome = "skipped" if new is None else "inserted"
        elif new is None:
            outcome = "deleted"
        else:
            outcome = "replaced" if changed else "unchanged"
        setattr(summary, outcome, getattr(summary, outcome) + 1)
        if summary.changes is not None and (changed or self.statement.return_changes == "always"):
            summary.changes.append(dumps({"new_val": new, "old_val": old}))

    def _check(self, key: bytes, new: Any) -> None:
        name = self.table.primary_key
        if type(new) is not dict:
            raise DatumError(f"Inserted value must be an OBJECT (got {type_name(new)}):\n{print_datum(new)}")
        if name not in new:
            raise _without_primary_key(name, new)
        if primary_key(new[name]) == key:
            return
        if self.old is None:
            raise DatumError(f"Primary key `{name}` cannot be changed (null -> {print_datum(new)})")
        raise DatumError(f"Primary key `{name}` cannot be changed (`{print_datum(self.old)}` -> `{print_datum(new)}`).")


def _without_primary_key(name: str, document: Row) -> DatumError:
    return DatumError(f"Inserted object must have primary key `{name}`:\n{print_datum(document)}")
