"""Dividing sequences into groups, and putting them together again: `group`, `ungroup`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from photondb.api.catalogue import IndexInfo, TableInfo
from photondb.api.storage import KeyRange
from photondb.reql.errors import logic_error
from photondb.reql.grouping import Grouping
from photondb.reql.index_values import IndexValues
from photondb.reql.parameters import FieldOrFunction, Runtime, Value, field_function
from photondb.reql.planner.distincts import is_sparse
from photondb.reql.registry import term
from photondb.reql.scan_source import ScanSource
from photondb.reql.sources import ComputedSource
from photondb.reql.stream import Stream, as_stream, table_stream
from photondb.reql.terms.selections import ordinary_index
from photondb.reql.values import Grouped, as_sequence, check_array_size, expect_table, wrong_type
from photondb.reql.wire import Term


@term(Term.GROUP, grouped="starts")
def group(
    runtime: Runtime, value: Value, *funcs: FieldOrFunction, index: str | None = None, multi: bool = False
) -> Value:
    """The sequence divided by what the functions or fields give for each element, and by an index. With `multi` an
    element for which one gives an array belongs to the group of each element of it."""
    by = list(funcs)
    indexed = None
    if index is not None:
        table = expect_table(value)
        info = ordinary_index(runtime, table.info, index)
        if info is None:
            by.append(field_function(index))
        else:
            runtime.require_index(table.info, info)
            indexed = IndexValues.of_index(info)
        stream = table_stream(table)
        if (
            indexed is not None
            and info is not None
            and not by
            and table.whole
            and _is_sparse(runtime, table.info, info)
        ):
            stream = Stream(ScanSource(table.info, info, (KeyRange(),), short_cut=True))
    else:
        stream = as_stream(as_sequence(value))
    if not by and indexed is None:
        raise logic_error("Cannot group by nothing.")
    return stream.grouped_by(Grouping(by, multi, indexed))


def _is_sparse(runtime: Runtime, table: TableInfo, index: IndexInfo) -> bool:
    """Whether to read only what is in the index, because that is little."""
    return runtime.context.optimizations and is_sparse(index, runtime.statistics(table))


@term(Term.UNGROUP, grouped="whole")
def ungroup(runtime: Runtime, value: Value) -> list[Any] | Stream:
    """Grouped data as an array of objects with the fields `group` and `reduction`."""
    if isinstance(value, Stream) and value.grouping is not None:
        value = value.to_grouped(runtime)
    if type(value) is not Grouped:
        raise wrong_type("GROUPED_DATA", value).blame(0)
    parts = value.parts
    if parts is not None:
        return Stream(ComputedSource(lambda runtime: _ungrouped(runtime, parts())), array_of=runtime)
    check_array_size(len(value.pairs), runtime.array_limit)
    return [{"group": group, "reduction": member} for group, member in value.pairs]


def _ungrouped(runtime: Runtime, parts: Iterator[Grouped]) -> Iterator[list[Any]]:
    for part in parts:
        rows = []
        for group, member in part.pairs:
            if type(member) is list:
                check_array_size(len(member), runtime.array_limit)
            rows.append({"group": group, "reduction": member})
        yield rows
