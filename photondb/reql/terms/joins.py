"""Joins: `inner_join`, `outer_join`, `eq_join`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Annotated, Any

from photondb.datum.types import truthy
from photondb.reql.equality_join import EqualityJoin, JoinedSource, JoinHints, plan_of
from photondb.reql.errors import logic_error
from photondb.reql.join_partners import Partners, PartnersHints, PartnersSource
from photondb.reql.parameters import (
    ConstantOrFunction,
    FieldOrFunction,
    Func,
    Kind,
    Runtime,
    Sequence,
    Table,
    as_string,
)
from photondb.reql.planner.joins import Method, method_of
from photondb.reql.registry import term
from photondb.reql.steps import LocalStep
from photondb.reql.stream import LOCAL_CHUNK_ROWS, computed, is_infinite, lists
from photondb.reql.terms.selections import ordinary_index
from photondb.reql.wire import Term

Row = dict[str, Any]


def _method(value: Any) -> Method:
    return method_of(as_string(value))


def _equality_method(value: Any) -> str:
    name = as_string(value)
    if name not in ("look_up", "hash"):
        raise logic_error(f'`join_method` of an `eq_join` must be "look_up" or "hash", not "{name}".')
    return name


def _first(value: Any) -> str:
    name = as_string(value)
    if name not in ("left", "right"):
        raise logic_error(f'`join_first` must be "left" or "right", not "{name}".')
    return name


JoinMethod = Annotated[Any, Kind("method of a join", _method)]
EqualityMethod = Annotated[Any, Kind("method of a join", _equality_method)]
JoinFirst = Annotated[Any, Kind("side", _first)]


@term(Term.INNER_JOIN, grouped="stream")
def inner_join(
    runtime: Runtime,
    left: Sequence,
    right: Sequence,
    predicate: ConstantOrFunction,
    *,
    join_method: JoinMethod | None = None,
    join_first: JoinFirst | None = None,
) -> Any:
    """All pairs {left, right} for which the predicate holds. How they are found the planner decides, unless
    `join_method` says so (pairs, hash, passes, look_up or merge), or `join_first`, which side is read first (left or
    right)."""
    partners = Partners(runtime, left, right, predicate, hints=PartnersHints(join_method, join_first))
    return _joined(runtime, "inner_join", partners, predicate, lambda row: [])


@term(Term.OUTER_JOIN, grouped="stream")
def outer_join(
    runtime: Runtime,
    left: Sequence,
    right: Sequence,
    predicate: ConstantOrFunction,
    *,
    join_method: JoinMethod | None = None,
) -> Any:
    """The same, with {left} alone for each row of the left side that has no partner. All of the left side is read."""
    partners = Partners(runtime, left, right, predicate, alone_too=True, hints=PartnersHints(join_method))
    return _joined(runtime, "outer_join", partners, predicate, lambda row: [{"left": row}])


def _joined(runtime: Runtime, name: str, partners: Partners, predicate: Func, alone: Callable[[Any], list[Row]]) -> Any:
    left = partners.left

    def join(rows: Iterable[Any]) -> Iterator[list[Row]]:
        rows = list(rows)
        for row, others in zip(rows, partners.of(rows), strict=True):
            pairs = [{"left": row, "right": other} for other in others if truthy(predicate.call(row, other))]
            yield pairs or alone(row)

    def make(runtime: Runtime, wanted: int | None = None) -> Iterator[list[Row]]:
        joined: list[Row] = []
        side = partners.left_to_read(wanted)
        if wanted is not None and partners.alone_too and type(side) is not list:
            side = side.sliced(0, wanted)  # each left row makes a pair, at least
        for rows in partners.batches(lists(runtime, side)):
            for pairs in join(rows):
                joined += pairs
                if len(joined) >= LOCAL_CHUNK_ROWS:
                    yield joined
                    joined = []
        yield joined

    if type(left) is not list and left.grouping is not None:
        return left.with_step(LocalStep(lambda rows: list(chain.from_iterable(join(rows)))))
    joined = computed(runtime, [left], make, infinite=is_infinite(left))
    if type(joined) is not list:
        joined.source = PartnersSource(name, partners, make)  # type: ignore[union-attr]
    return joined


@term(Term.EQ_JOIN, grouped="stream")
def eq_join(
    runtime: Runtime,
    left: Sequence,
    func: FieldOrFunction,
    table: Table,
    *,
    index: str | None = None,
    ordered: bool = False,
    join_method: EqualityMethod | None = None,
    join_first: JoinFirst | None = None,
) -> Any:
    """The pairs {left, right} of the rows of a sequence and the documents of a table that have, as their primary key
    or in an index, what the function or field gives for the row. Rows without it, and those for which it is null, have
    no partners. The pairs come in the order of the left side if `ordered`. How they are found the planner decides,
    unless `join_method` says so (look_up or hash), or `join_first`, which side is read first (left or right)."""
    info = table.info
    chosen = None if index is None else ordinary_index(runtime, info, index)
    runtime.require_index(info, chosen)
    join = EqualityJoin(func, info, chosen, ordered, JoinHints(join_method, join_first))
    joined = computed(
        runtime, [left], lambda runtime: join.joined(runtime, plan_of(runtime, left, join)), infinite=is_infinite(left)
    )
    if type(joined) is not list:
        joined.source = JoinedSource(left, join)  # type: ignore[union-attr]
    return joined
