"""`info`: what there is to know about a value."""

from __future__ import annotations

from typing import Any

from photondb.api.catalogue import TableInfo
from photondb.datum.binary import binary_bytes
from photondb.datum.extreme import MAXVAL, MINVAL, Extreme
from photondb.datum.text import print_datum
from photondb.reql.configuration import database_description, table_description
from photondb.reql.effects import Effects
from photondb.reql.javascript_text import function_text
from photondb.reql.parameters import Runtime, Value
from photondb.reql.registry import term
from photondb.reql.terms.types import value_name
from photondb.reql.values import TableSlice, as_datum, table_of, value_type
from photondb.reql.wire import Term

_SORTING = {"": "UNORDERED", "asc": "ASCENDING", "desc": "DESCENDING"}


@term(Term.INFO, grouped="whole", effects=Effects.READS)
def info(runtime: Runtime, value: Value) -> dict[str, Any]:
    """What there is to know about a value: its type, and what its kind adds to that."""
    described: dict[str, Any] = {"type": value_name(value)}
    kind = value_type(value)
    if kind == "DATABASE":
        return database_description(value.name, value.uuid)
    if kind == "TABLE":
        return _table(runtime, value.info)
    if kind == "TABLE_SLICE":
        described.update(_slice(runtime, value))
    elif kind in ("SELECTION", "SINGLE_SELECTION"):
        table = table_of(value)
        assert table is not None
        described["table"] = _table(runtime, table)
    elif kind == "FUNCTION":
        described["source_code"] = function_text(value.to_wire())
    elif kind == "DATUM":
        described.update(_datum(as_datum(value)))
    return described


def _table(runtime: Runtime, info: TableInfo) -> dict[str, Any]:
    """A table as `info` shows it to who may read it: how many documents it has is part of that."""
    runtime.require("read", info.database, info)
    return table_description(runtime, info)


def _datum(value: Any) -> dict[str, Any]:
    if value is None or type(value) is Extreme:
        return {}
    described: dict[str, Any] = {"value": print_datum(value)}
    if type(value) is dict and value.get("$reql_type$") == "BINARY":
        described["count"] = len(binary_bytes(value))
    return described


def _slice(runtime: Runtime, piece: TableSlice) -> dict[str, Any]:
    bounds = piece.bounds
    described = {
        "table": _table(runtime, piece.info),
        "index": piece.index_named,
        "sorting": _SORTING[piece.ordering],
    }
    left, right = (MINVAL, MAXVAL) if bounds is None else (bounds.left, bounds.right)
    left_open, right_open = (False, False) if bounds is None else (bounds.left_open, bounds.right_open)
    described.update(_bound("left", left, left_open, unbounded=MINVAL, unachievable=MAXVAL))
    described.update(_bound("right", right, right_open, unbounded=MAXVAL, unachievable=MINVAL))
    return described


def _bound(side: str, value: Any, is_open: bool, unbounded: Extreme, unachievable: Extreme) -> dict[str, Any]:
    if value is unbounded:
        return {f"{side}_bound_type": "unbounded"}
    if value is unachievable:
        return {f"{side}_bound_type": "unachievable"}
    return {f"{side}_bound": value, f"{side}_bound_type": "open" if is_open else "closed"}
