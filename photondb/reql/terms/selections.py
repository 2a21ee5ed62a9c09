"""Choosing documents of a table: by primary key, by the values of an index, by a range."""

from __future__ import annotations

from typing import Annotated, Any

from photondb.api.catalogue import IndexInfo, TableInfo
from photondb.api.storage import KeyRange
from photondb.datum.extreme import MAXVAL, MINVAL
from photondb.datum.keys import key_range, primary_key
from photondb.reql.errors import ErrorKind, ReqlError, logic_error
from photondb.reql.parameters import Datum, Kind, Runtime, Slice, Table
from photondb.reql.registry import term
from photondb.reql.runtime import ABSENT_INDEX_ID
from photondb.reql.scan_source import ScanSource
from photondb.reql.stream import Stream, bounds_range
from photondb.reql.values import Bounds, SingleSelection, TableSlice, as_datum
from photondb.reql.wire import Term


def _index_key(value: Any) -> Any:
    value = as_datum(value)
    if value is None:
        raise ReqlError(ErrorKind.NON_EXISTENCE, "Keys cannot be NULL.")
    if type(value) is dict and value.get("$reql_type$") == "GEOMETRY":
        raise logic_error("Cannot use a geospatial index with `get_all`. Use `get_intersecting` instead.")
    return value


def _bound(value: Any) -> Any:
    value = as_datum(value)
    if value is None:
        raise logic_error("Cannot use `null` in BETWEEN, use `r.minval` or `r.maxval` to denote unboundedness.")
    return value


IndexKey = Annotated[Any, Kind("key", _index_key)]
Bound = Annotated[Any, Kind("bound", _bound)]


@term(Term.GET)
def get(runtime: Runtime, table: Table, key: Datum) -> SingleSelection:
    """The document with that primary key, or null."""
    primary_key(key)  # refuses what cannot be one
    return SingleSelection(runtime, table.info, key)


@term(Term.GET_ALL)
def get_all(runtime: Runtime, table: Table, *keys: IndexKey, index: str | None = None) -> Stream:
    """The documents with any of the keys as their primary key, or in an index; as often as the key is given."""
    info = table.info
    if not keys:
        return Stream(ScanSource(info, None, ()), info)
    chosen = ordinary_index(runtime, info, info.primary_key if index is None else index)
    wanted: dict[tuple[bytes, bytes], int] = {}
    for key in keys:
        bounds = key_range(key, key, "closed", "closed", secondary=chosen is not None)
        wanted[bounds] = wanted.get(bounds, 0) + 1
    ranges = [KeyRange(low, high, count) for (low, high), count in wanted.items()]
    return Stream(ScanSource(info, chosen, ranges), info)


@term(Term.BETWEEN)
def between(
    runtime: Runtime,
    table: Slice,
    lower: Bound,
    upper: Bound,
    *,
    index: str | None = None,
    left_bound: str = "closed",
    right_bound: str = "open",
) -> TableSlice:
    """The part of a table between two values of the primary key or of an index."""
    bounds = Bounds(lower, upper, is_open("left_bound", left_bound), is_open("right_bound", right_bound))
    return _narrowed(runtime, table, bounds, index)


@term(Term.BETWEEN_DEPRECATED)
def between_deprecated(
    runtime: Runtime,
    table: Slice,
    lower: Datum,
    upper: Datum,
    *,
    index: str | None = None,
    left_bound: str = "closed",
    right_bound: str = "open",
) -> TableSlice:
    """`between` as it once was: null means that there is no bound."""
    lower = MINVAL if lower is None else lower
    upper = MAXVAL if upper is None else upper
    bounds = Bounds(lower, upper, is_open("left_bound", left_bound), is_open("right_bound", right_bound))
    return _narrowed(runtime, table, bounds, index)


def ordinary_index(runtime: Runtime, info: TableInfo, name: str) -> IndexInfo | None:
    """The index of that name, None for the primary key; raises where there is none, or where it is a geo index."""
    index = runtime.find_index(info, name)
    if index is not None and index.geo:
        raise logic_error(
            f"Index `{name}` is a geospatial index.  Only get_nearest and get_intersecting can use a geospatial index."
        )
    return index


def slice_index(runtime: Runtime, info: TableInfo, name: str) -> IndexInfo | None:
    """The index of a slice or an order: `ordinary_index`, but what is not there is missed only when it is read."""
    try:
        return ordinary_index(runtime, info, name)
    except ReqlError as error:
        if error.kind != ErrorKind.OP_FAILED:
            raise
        return IndexInfo(ABSENT_INDEX_ID, name, [])


def _narrowed(runtime: Runtime, table: TableSlice, bounds: Bounds, name: str | None) -> TableSlice:
    if table.bounds is not None:
        raise logic_error("Cannot perform multiple BETWEENs on the same table.")
    if name is None:
        name = table.index_named or table.info.primary_key
    elif table.index_named is not None and name != table.index_named:
        raise logic_error(f"Cannot call BETWEEN on index `{name}` after ordering on index `{table.index_named}`.")
    index = slice_index(runtime, table.info, name)
    bounds_range(bounds, index is not None)  # refuses values that cannot be keys
    return TableSlice(table.info, index, name, table.ordering, bounds, table.read_mode)


def is_open(option: str, word: str) -> bool:
    """Whether the word that an optional argument for a bound was given is "open" and not "closed"."""
    if word == "open" or word == "closed":
        return word == "open"
    raise logic_error(f'Expected `open` or `closed` for optarg `{option}` (got `"{word}"`).')
