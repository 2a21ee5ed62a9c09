"""What a term may evaluate to besides plain datums, and how values turn into what a term asks for.

Datums are plain Python JSON values (see `photondb.datum`). The other kinds are RethinkDB's: databases, tables and
slices of them, selections of one document, streams, grouped data, functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from photondb.api.catalogue import IndexInfo, TableInfo
from photondb.datum.extreme import MAXVAL, MINVAL, Extreme
from photondb.datum.text import print_datum
from photondb.datum.types import type_name
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.reql.function import Func

if TYPE_CHECKING:
    from photondb.reql.runtime import Runtime
    from photondb.reql.stream import Stream

PRINT_LIMIT = 300
"""Characters of a value that an error message shows before it is cut."""


class Database:
    """A database by name. It exists when it is made; `uuid` is what `info` shows."""

    __slots__ = ("name", "uuid")

    def __init__(self, name: str, uuid: str) -> None:
        self.name = name
        self.uuid = uuid


class Bounds:
    """A range of a primary key or an index, as `between` gives it."""

    __slots__ = ("left", "left_open", "right", "right_open")

    def __init__(self, left: Any, right: Any, left_open: bool, right_open: bool) -> None:
        self.left = left
        self.right = right
        self.left_open = left_open
        self.right_open = right_open


def is_open(option: str, word: str) -> bool:
    """Whether a bound is left out, by the `word` that an optional argument (`left_bound`, `right_bound`) says."""
    if word == "open" or word == "closed":
        return word == "open"
    raise ReqlError(ErrorKind.LOGIC, f'Expected `open` or `closed` for optarg `{option}` (got `"{word}"`).')


class TableSlice:
    """A table, possibly narrowed by `between` and ordered by `order_by(index=...)`.

    `index` is the secondary index of the slice or of the ordering; None means the primary key. `index_named` is the
    name that was given, `ordering` is "", "asc" or "desc".
    """

    __slots__ = ("bounds", "index", "index_named", "info", "ordering", "read_mode")

    def __init__(
        self,
        info: TableInfo,
        index: IndexInfo | None = None,
        index_named: str | None = None,
        ordering: str = "",
        bounds: Bounds | None = None,
        read_mode: str = "single",
    ) -> None:
        self.info = info
        self.index = index
        self.index_named = index_named
        self.ordering = ordering
        self.bounds = bounds
        self.read_mode = read_mode

    @property
    def whole(self) -> bool:
        """Whether this is the table itself."""
        return self.bounds is None and not self.ordering


class SingleSelection:
    """One document of a table, read when it is looked at: the one with the primary key `key` (a datum), or the first
    one of `first_of`, which is an ordered slice."""

    __slots__ = ("_key", "_row", "_runtime", "first_of", "info")

    def __init__(
        self, runtime: Runtime, info: TableInfo, key: Any = ..., row: Any = ..., first_of: TableSlice | None = None
    ) -> None:
        self._runtime = runtime
        self.info = info
        self._key = key
        self._row = row
        self.first_of = first_of

    @property
    def key(self) -> Any:
        """The primary key."""
        if self._key is ...:
            self._key = self.row[self.info.primary_key]
        return self._key

    @property
    def row(self) -> Any:
        """The document, or None where there is none; raises where there is no first one."""
        if self._row is ...:
            if self.first_of is None:
                self._row = self._runtime.read_row(self.info, self._key)
            else:
                self._row = first_row(self._runtime, self.first_of)
        return self._row


class Grouped:
    """Grouped data: (group, value) pairs in the order of the groups. They may be very many and come in parts, each of
    which is grouped data; `combined` makes one of all, or raises where that is too large."""

    __slots__ = ("_combined", "_pairs", "parts")

    def __init__(
        self,
        pairs: list[tuple[Any, Any]] | None = None,
        parts: Callable[[], Iterator[Grouped]] | None = None,
        combined: Callable[[Iterator[Grouped]], Grouped] | None = None,
    ) -> None:
        self._pairs = pairs
        self.parts = parts
        self._combined = combined

    @property
    def pairs(self) -> list[tuple[Any, Any]]:
        """All of them."""
        if self._pairs is None:
            assert self.parts is not None
            assert self._combined is not None
            self._pairs = self._combined(self.parts()).pairs
        return self._pairs


PLAIN_TYPES = frozenset({dict, list, str, int, float, bool, type(None)})


def is_datum(value: Any) -> bool:
    """Whether a value is a datum (which `r.minval` and `r.maxval` are too)."""
    return type(value) in PLAIN_TYPES or type(value) is Extreme


def value_type(value: Any) -> str:
    """The kind of a value, as RethinkDB's error messages name it."""
    if is_datum(value):
        return "DATUM"
    if type(value) is TableSlice:
        return "TABLE" if value.whole else "TABLE_SLICE"
    if type(value) is SingleSelection:
        return "SINGLE_SELECTION"
    if type(value) is Database:
        return "DATABASE"
    if type(value) is Func:
        return "FUNCTION"
    if type(value) is Grouped:
        return "GROUPED_DATA"
    if value.table is not None:
        return "SELECTION"
    return "SEQUENCE" if value.array_of is None else "DATUM"


def print_value(value: Any) -> str:
    """A value as it stands in error messages."""
    kind = value_type(value)
    if kind == "DATUM":
        return print_datum(as_datum(value))
    if kind == "DATABASE":
        return f'db("{value.name}")'
    if kind == "TABLE":
        return f'table("{value.info.name}")'
    if kind == "TABLE_SLICE":
        return f"SELECTION ON table({value.info.name})"
    if kind == "SELECTION":
        return f"SELECTION ON table({value.table.name})"
    if kind == "SINGLE_SELECTION":
        return print_datum(value.row)
    return f"VALUE {kind}"


def truncated(text: str) -> str:
    """`text`, cut to what an error message shows."""
    return text if len(text) <= PRINT_LIMIT else text[: PRINT_LIMIT - 3] + "..."


def wrong_type(expected: str, value: Any) -> ReqlError:
    """The error for a value of the wrong kind (a table where a datum is asked for)."""
    kind = ErrorKind.NON_EXISTENCE if value is None else ErrorKind.LOGIC
    return ReqlError(kind, f"Expected type {expected} but found {value_type(value)}:\n{print_value(value)}")


def wrong_datum(expected: str, value: Any) -> ReqlError:
    """The error for a datum of the wrong type (a number where a string is asked for). Null counts as missing."""
    kind = ErrorKind.NON_EXISTENCE if value is None else ErrorKind.LOGIC
    return ReqlError(kind, f"Expected type {expected} but found {type_name(value)}.")


def first_row(runtime: Runtime, piece: TableSlice) -> Any:
    """The first document of an ordered slice."""
    from photondb.reql.stream import table_stream

    for chunk in table_stream(piece).chunks(runtime, 1, 1):
        return chunk.values()[0]
    term = "max" if piece.ordering == "desc" else "min"
    raise ReqlError(ErrorKind.LOGIC, f"`{term}` found no entries in the specified index.")


def as_datum(value: Any) -> Any:
    """The datum that a value is or stands for. Raises for tables, streams and functions."""
    if type(value) in PLAIN_TYPES:
        return value
    if type(value) is SingleSelection:
        return value.row
    if value is MINVAL or value is MAXVAL:
        return value
    runtime = getattr(value, "array_of", None)
    if runtime is not None and value.table is None:
        return value.to_list(runtime)
    raise wrong_type("DATUM", value)


def as_sequence(value: Any) -> list[Any] | Stream:
    """What can be gone through: an array, or a stream over whatever `value` is."""
    from photondb.reql.stream import Stream, table_stream

    if type(value) is list:
        return value
    if isinstance(value, Stream):
        return value
    if type(value) is TableSlice:
        return table_stream(value)
    if type(value) is SingleSelection:
        value = value.row
        if type(value) is list:
            return value
    if is_datum(value):
        kind = ErrorKind.NON_EXISTENCE if value is None else ErrorKind.LOGIC
        raise ReqlError(kind, f"Cannot convert {type_name(value)} to SEQUENCE")
    raise wrong_type("SEQUENCE", value)


def is_sequence(value: Any) -> bool:
    """Whether a value is a sequence of some kind (an array too)."""
    from photondb.reql.stream import Stream

    return type(value) is list or type(value) is TableSlice or isinstance(value, Stream)


def table_of(value: Any) -> TableInfo | None:
    """The table that a selection, a slice or a document belongs to."""
    if type(value) is TableSlice or type(value) is SingleSelection:
        return value.info
    table: TableInfo | None = getattr(value, "table", None)
    return table


MAX_STRING_CHARACTERS = 64 * 2**20
"""How long a string may become that a query makes. Without a limit, doubling one 40 times takes all memory."""


LONG_STRING_CHARACTERS = 64 * 2**10
CHARACTERS_OF_ELEMENT = 500
"""From what length on a string counts as work of its own, and as how much: so many characters are an element."""


def take_turns(runtime: Runtime, characters: int) -> None:
    """Let other queries go on where one goes through long strings, as loops do between their elements. For terms that
    make strings or read them, before they do."""
    if characters > LONG_STRING_CHARACTERS:
        runtime.checkpoint(characters // CHARACTERS_OF_ELEMENT)


def check_string_size(size: int) -> None:
    """Raise for a string that becomes too long."""
    if size > MAX_STRING_CHARACTERS:
        raise ReqlError(ErrorKind.RESOURCE_LIMIT, f"String over size limit `{MAX_STRING_CHARACTERS}`.")


def check_array_size(size: int, limit: int) -> None:
    """Raise RethinkDB's error for an array over the limit."""
    if size > limit:
        raise ReqlError(
            ErrorKind.RESOURCE_LIMIT,
            f"Array over size limit `{limit}`.  To raise the number of allowed elements, modify the `array_limit` "
            "option to `.run` (not available in the Data Explorer), or use an index.",
        )


def expect_table(value: Any) -> TableSlice:
    """A table (not a slice of one)."""
    if type(value) is TableSlice and value.whole:
        return value
    raise wrong_type("TABLE", value)
