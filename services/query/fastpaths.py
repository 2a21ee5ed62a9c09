"""Queries that read or write one document, recognised at compile time.

They are most of the queries that applications send. What the evaluator would do with them one by one is done here for
all that arrived together: one multi-get for the reads, one commit for the writes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from photondb.api.catalogue import Catalogue, Durability, TableInfo
from photondb.api.storage import Write
from photondb.datum.errors import DatumError
from photondb.datum.json import loads_stored
from photondb.datum.keys import primary_key
from photondb.reql import shape as shapes
from photondb.reql.callsite import Run
from photondb.reql.compiler import Compiler, fields_of
from photondb.reql.effects import Effects
from photondb.reql.function import Frame, Func
from photondb.reql.parameters import constant_function
from photondb.reql.pipeline import field_decoder
from photondb.reql.shape import Shape
from photondb.reql.wire import Term
from photondb.reql.write_statements import (
    BATCH_ROWS,
    DEFAULT_OPTIONS,
    PointKind,
    WriteOptions,
    insert_write,
    key_problem,
    point_write,
    with_generated_keys,
)
from services.query.raw_results import RawResult, raw_result

SYSTEM_DATABASE = "rethinkdb"

_ROW_TERMS = frozenset(
    {Term.PLUCK, Term.WITHOUT, Term.BRACKET, Term.GET_FIELD, Term.MERGE, Term.HAS_FIELDS, Term.DEFAULT, Term.KEYS}
)
"""Terms that, around a `get`, need nothing but the document that it gives."""

_QUICK_TERMS = frozenset({Term.MAKE_ARRAY, Term.LITERAL, Term.POINT, Term.EPOCH_TIME, Term.ISO8601, Term.TIME})
"""Terms of constants that may stand in the patch of an update that is worked out before the others get their turn."""


def _is_quick(shape: Shape) -> bool:
    """Whether a shape is evaluated in no time: it is made of constants."""
    tag = shape[0]
    if tag == shapes.OBJECT:
        return all(_is_quick(value) for _, value in shape[1])
    if tag in _QUICK_TERMS:
        return all(map(_is_quick, shape[1])) and not shape[2]
    return tag < 0 and tag != shapes.VAR  # type: ignore[no-any-return]


class TableName:
    """A table as a query names it; without a database the one of the run option `db` is meant."""

    __slots__ = ("database", "name")

    def __init__(self, database: str | None, name: str) -> None:
        self.database = database
        self.name = name

    def find(self, catalogue: Catalogue, default_database: Any) -> TableInfo | None:
        """The table, if this catalogue has it. `default_database` is the run option `db`. The tables of the system
        database are never found: they are not what the catalogue says, and not everybody's to read."""
        database = self.database or default_database
        return None if database == SYSTEM_DATABASE else catalogue.tables.get((database, self.name))


def table_name(shape: Shape) -> TableName | None:
    """The table that a term without options names, if it is one."""
    if shape[0] != Term.TABLE or shape[2]:
        return None
    args = shape[1]
    if len(args) == 1 and args[0][0] == shapes.LITERAL:
        return TableName(None, args[0][1])
    if len(args) != 2 or args[1][0] != shapes.LITERAL:
        return None
    database = args[0]
    if database[0] != Term.DB or len(database[1]) != 1 or database[1][0][0] != shapes.LITERAL:
        return None
    return TableName(database[1][0][1], args[1][1])


def _point(shape: Shape) -> tuple[TableName, int] | None:
    """(table, frame slot of the key) of a `get` with a constant key."""
    if shape[0] != Term.GET or shape[2] or len(shape[1]) != 2:
        return None
    table = table_name(shape[1][0])
    if table is None or shape[1][1][0] != shapes.CONSTANT:
        return None
    return table, 1 + shape[1][1][1]


class PointRead:
    """A read of one document, and what is done with it. `then` is None where it is sent as it is stored; `raw` mostly
    does the same as `then`, without decoding the document."""

    __slots__ = ("decode", "key_slot", "raw", "row_slot", "table", "then")

    def __init__(
        self,
        table: TableName,
        key_slot: int,
        then: Run | None = None,
        row_slot: int = 0,
        decode: Any = None,
        raw: RawResult | None = None,
    ) -> None:
        self.table = table
        self.key_slot = key_slot
        self.then = then
        self.row_slot = row_slot
        self.decode = decode
        self.raw = raw

    def key(self, frame: Frame) -> bytes:
        """The encoded primary key; raises DatumError for what cannot be one."""
        return primary_key(frame[self.key_slot])

    def value(self, frame: Frame, raw: bytes | None) -> Any:
        """What the query makes of the document."""
        assert self.then is not None
        frame[self.row_slot] = None if raw is None else self.decode(raw)
        return self.then(frame)


def point_read(compiler: Compiler, shape: Shape) -> PointRead | None:
    """The point read that a query is, if it is one."""
    outer: list[Shape] = []
    inner = shape
    while inner[0] in _ROW_TERMS and inner[1]:
        if not all(map(_is_quick, inner[1][1:])):
            return None
        outer.append(inner)
        inner = inner[1][0]
    point = _point(inner)
    if point is None:
        return None
    table, key_slot = point
    if not outer:
        return PointRead(table, key_slot)
    variable = compiler.new_variable()
    body: Shape = (shapes.VAR, variable)
    for term in reversed(outer):
        body = (term[0], (body, *term[1][1:]), term[2])
    node = compiler.compile(body, ())
    if node.effects & ~Effects.NOW:
        return None
    fields = fields_of(body, variable)
    decode = loads_stored if fields is None or any(map(_may_quote, outer)) else field_decoder(fields)
    raw = raw_result(outer[0]) if len(outer) == 1 else None
    return PointRead(table, key_slot, node.run, compiler.variable_base + variable, decode, raw)


def _may_quote(term: Shape) -> bool:
    """Whether an error of the term may show the document, which then must be whole."""
    return term[0] not in (Term.PLUCK, Term.HAS_FIELDS)


class PointWrite:
    """An update, replace or delete of one document, or an insert of constant ones.

    `make` gives the statement and the primary keys that were made for it; it raises DatumError for a key that cannot
    be one.
    """

    __slots__ = ("_make", "durability", "table")

    def __init__(self, table: TableName, make: MakeWrite, durability: Durability | None) -> None:
        self.table = table
        self._make = make
        self.durability = durability

    def write(self, frame: Frame, info: TableInfo, durability: Durability | None) -> tuple[Write, list[str]]:
        """The statement for a table, where the run option `durability` stands in for that of the term."""
        durability = self.durability or durability
        return self._make(frame, info, DEFAULT_OPTIONS if durability is None else WriteOptions(durability))


MakeWrite = Callable[[Frame, TableInfo, WriteOptions], tuple[Write, list[str]]]

_CHANGES: dict[int, PointKind] = {Term.UPDATE: "update", Term.REPLACE: "replace", Term.DELETE: "delete"}


def point_write_of(compiler: Compiler, shape: Shape) -> PointWrite | None:
    """The write of one document, or of some constant ones, that a query is, if it is one."""
    durability = _only_durability(shape) if shape[0] in (*_CHANGES, Term.INSERT) else ...
    if durability is ... or not shape[1]:
        return None
    if shape[0] == Term.INSERT:
        return _constant_insert(shape, durability)
    return _point_change(compiler, shape, durability)


def _constant_insert(shape: Shape, durability: Durability | None) -> PointWrite | None:
    table = table_name(shape[1][0])
    if table is None or len(shape[1]) != 2 or shape[1][1][0] != shapes.CONSTANT:
        return None
    slot = 1 + shape[1][1][1]

    def make(frame: Frame, info: TableInfo, options: WriteOptions) -> tuple[Write, list[str]]:
        given = frame[slot]
        documents = given if type(given) is list else (given,)
        if len(documents) > BATCH_ROWS or type(given) not in (dict, list):
            raise DatumError("an insert that the evaluator takes apart, or says what is wrong with")
        complete, keys = with_generated_keys(documents, info.primary_key)
        if len(complete) > 1 and any(key_problem(document, info.primary_key) for document in complete):
            raise DatumError("an insert with keys that cannot be: the evaluator reports those first")
        return insert_write(info, complete, "error", options), keys

    return PointWrite(table, make, durability)


def _point_change(compiler: Compiler, shape: Shape, durability: Durability | None) -> PointWrite | None:
    point = _point(shape[1][0])
    if point is None:
        return None
    table, key_slot = point
    kind = _CHANGES[shape[0]]
    function: Run | None = None
    if kind != "delete":
        if len(shape[1]) != 2 or shape[1][1][0] not in (shapes.CONSTANT, shapes.OBJECT, Term.FUNC):
            return None
        if shape[1][1][0] == shapes.OBJECT and not _is_quick(shape[1][1]):
            return None
        node = compiler.compile(shape[1][1], (1,), literals=kind == "update")
        if not node.effects.pushable:
            return None
        function = node.run

    def make(frame: Frame, info: TableInfo, options: WriteOptions) -> tuple[Write, list[str]]:
        key = primary_key(frame[key_slot])
        if function is None:
            return point_write(info, kind, (key,), None, options), []
        value = function(frame)
        change = value if type(value) is Func else constant_function(value)
        return point_write(info, kind, (key,), change, options), []

    return PointWrite(table, make, durability)


def _only_durability(shape: Shape) -> Any:
    """The durability among the optional arguments, None without any, `...` when there are others."""
    if not shape[2]:
        return None
    if len(shape[2]) == 1 and shape[2][0][0] == "durability":
        value = shape[2][0][1]
        if value[0] == shapes.LITERAL and value[1] in ("hard", "soft"):
            return value[1]
    return ...
