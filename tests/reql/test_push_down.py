"""What is pushed down to storage gives what the evaluator itself would give."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rethinkdb import r
from rethinkdb.ast import Func as DriverFunc
from rethinkdb.ast import ReQLEncoder

import photondb.reql.terms  # noqa: F401  # registers the terms
from photondb.datum.extreme import MAXVAL, MINVAL
from photondb.datum.order import equal
from photondb.reql.accumulators import Aggregate
from photondb.reql.aggregates import Avg, Count, Sum, aggregate_from_wire
from photondb.reql.errors import ReqlError
from photondb.reql.function import Func
from photondb.reql.grouping import Group, Grouping
from photondb.reql.ordering import Ordering, Top
from photondb.reql.parameters import constant_function, equality_function
from photondb.reql.pipeline import Pipeline
from photondb.reql.row_aggregates import Collect, Distinct, Max, Min, Reduce
from photondb.reql.steps import ConcatMapStep, FilterStep, MapStep, Step, ZipStep, steps_from_wire, steps_to_wire
from photondb.reql.values import Grouped

LIMIT = 1000


def function(written: Callable[..., Any]) -> Func:
    """The compiled function of a driver's lambda."""
    return Func.from_wire(json.loads(ReQLEncoder().encode(DriverFunc(written))))


FIELDS = ("a", "b", "left", "right")

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(-12, 12).map(lambda n: n / 4),
    st.sampled_from(["", "a", "b"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=2),
    max_leaves=4,
)
documents = st.dictionaries(st.sampled_from(FIELDS), values, max_size=4)

predicates = st.sampled_from(
    [
        function(lambda row: row["a"] == 1),
        function(lambda row: row["b"] > row["a"]),
        function(lambda row: row["left"]["a"] == 1),
        function(lambda row: True),
        function(lambda row: {"a": row["b"]}),
        function(lambda row: row.has_fields("b")),
        function(lambda row: row["a"].add(1) > 2),
        function(lambda: False),
        constant_function({"a": 1}),
        constant_function({"a": {"b": None}}),
        constant_function({"b": "a", "a": True}),
        constant_function("everything"),
    ]
)
defaults = st.sampled_from([False, True, function(lambda: r.error()), function(lambda: r.error("no such thing"))])
mappings = st.sampled_from(
    [
        function(lambda row: row),
        function(lambda row: row["a"]),
        function(lambda row: row["b"].default(0)),
        function(lambda row: {"a": row["b"].default(None), "b": row["left"].default(1)}),
        function(lambda row: row.merge({"a": 2})),
        function(lambda row: row.pluck("a", "b")),
        function(lambda: 7),
    ]
)
expansions = st.sampled_from(
    [
        function(lambda row: [row, row["a"].default(1)]),
        function(lambda row: row["b"]),
        function(lambda row: []),
        function(lambda row: r.expr([1, 2]).map(lambda n: {"a": n, "b": row["a"].default(n)})),
    ]
)
keys = st.sampled_from(
    [
        function(lambda row: row["a"]),
        function(lambda row: [row["a"], row["b"]]),
        function(lambda row: row["b"].default(3)),
    ]
)
steps = st.one_of(
    st.builds(FilterStep, predicates, defaults),
    st.builds(MapStep, mappings, st.booleans()),
    st.builds(ConcatMapStep, expansions),
    st.just(ZipStep()),
)
orderings = st.lists(st.tuples(keys, st.booleans()), min_size=1, max_size=2).map(Ordering)
reductions: st.SearchStrategy[Aggregate] = st.one_of(
    st.just(Count()),
    st.builds(Sum, st.none() | keys),
    st.builds(Avg, st.none() | keys),
    st.builds(Min, st.none() | keys),
    st.builds(Max, st.none() | keys),
    st.just(Reduce(function(lambda a, b: r.branch(a > b, a, b)))),
    st.just(Distinct(LIMIT)),
)
folds: st.SearchStrategy[Aggregate] = reductions | st.builds(Top, orderings, st.integers(0, 4))
groupings = st.builds(Grouping, st.lists(keys, min_size=1, max_size=2), st.booleans())
groups = st.builds(Group, groupings, reductions | st.just(Collect()), st.just(LIMIT), st.lists(steps, max_size=2))


def here(pipeline: list[Step], aggregate: Aggregate | None, limit: int | None, rows: list[Any]) -> Any:
    """What the evaluator makes of decoded rows; with a limit it looks at no more of them than it needs."""
    if limit is not None:
        found: list[Any] = []
        for row in rows if limit else ():
            part = [row]
            for step in pipeline:
                part = step.apply(part)
            found += part
            if len(found) >= limit:
                break
        return found[:limit]
    for step in pipeline:
        rows = step.apply(rows)
    if aggregate is None:
        return rows
    accumulator = aggregate.start()
    accumulator.feed(rows)
    return accumulator.result()


def there(
    pipeline: list[Step], aggregate: Aggregate | None, limit: int | None, rows: list[Any], batch_rows: int
) -> Any:
    """What storage makes of raw rows, after the steps and the aggregate have travelled there."""
    travelled = steps_from_wire(orjson.loads(orjson.dumps(steps_to_wire(pipeline))))
    fold = None if aggregate is None else aggregate_from_wire(orjson.loads(orjson.dumps(aggregate.to_wire())))
    storage = Pipeline(travelled, fold, limit)
    raw = [orjson.dumps(row) for row in rows]
    found: list[Any] = []
    for start in range(0, len(raw), batch_rows):
        chunk = storage.feed(raw[start : start + batch_rows])
        if chunk is not None:
            found += orjson.loads(b"[" + chunk.json() + b"]")
        if storage.done:
            break
    if aggregate is None:
        return found
    accumulator = aggregate.start()
    accumulator.merge(orjson.loads(orjson.dumps(storage.partial())))
    return accumulator.result()


def outcome(evaluate: Callable[..., Any], *args: Any) -> Any:
    """The result, or the error that was raised."""
    try:
        result = evaluate(*args)
    except ReqlError as error:
        return error
    return [list(pair) for pair in result.pairs] if isinstance(result, Grouped) else result


pipelines = st.lists(steps, max_size=3)
tables = st.lists(documents, max_size=12)
ends = st.one_of(
    st.tuples(groups, st.none()), st.tuples(folds, st.none()), st.tuples(st.none(), st.none() | st.integers(1, 5))
)
"""What comes after the steps: an aggregate, or a limit."""

End = tuple[Aggregate | None, int | None]


@given(pipelines, ends, tables)
def test_one_batch_gives_the_same_result_or_the_same_error(pipeline: list[Step], end: End, rows: list[Any]) -> None:
    expected = outcome(here, pipeline, *end, rows)
    found = outcome(there, pipeline, *end, rows, len(rows) or 1)
    if isinstance(expected, ReqlError):
        assert isinstance(found, ReqlError)
        assert (found.kind, found.message) == (expected.kind, expected.message)
    else:
        assert equal(found, expected)


@given(pipelines, ends, tables, st.integers(1, 4))
def test_batches_do_not_matter(pipeline: list[Step], end: End, rows: list[Any], batch_rows: int) -> None:
    expected = outcome(here, pipeline, *end, rows)
    found = outcome(there, pipeline, *end, rows, batch_rows)
    if isinstance(expected, ReqlError):
        # With a limit the rows that would fail may never be looked at.
        assert isinstance(found, ReqlError) or end[1] is not None
    else:
        assert equal(found, expected)


@given(tables, tables, pipelines, folds | groups)
def test_partial_results_of_two_scans_add_up(
    first: list[Any], second: list[Any], pipeline: list[Step], aggregate: Aggregate
) -> None:
    expected = outcome(here, pipeline, aggregate, None, [*first, *second])

    def merged() -> Any:
        accumulator = aggregate.start()
        for rows in (first, second):
            storage = Pipeline(pipeline, aggregate)
            storage.feed([orjson.dumps(row) for row in rows])
            accumulator.merge(orjson.loads(orjson.dumps(storage.partial())))
        return accumulator.result()

    found = outcome(merged)
    if isinstance(expected, ReqlError):
        assert isinstance(found, ReqlError)
    else:
        assert equal(found, expected)


def test_rows_that_are_only_filtered_stay_as_they_are() -> None:
    raw = [b'{"a": 1,  "b": 2}', b'{"a": 2}']
    chunk = Pipeline([FilterStep(constant_function({"a": 1}))]).feed(raw)
    assert chunk is not None
    assert chunk.json() == raw[0]


@pytest.mark.parametrize("value", [MINVAL, [MAXVAL, {"a": MINVAL}], {"a": [1, None]}])
def test_any_value_can_be_compared_with_in_storage(value: Any) -> None:
    wire = orjson.loads(orjson.dumps(equality_function(value).to_wire()))
    assert Func.from_wire(wire).call(value) is True
    assert Func.from_wire(wire).call(1) is False


def test_an_error_shows_the_whole_document() -> None:
    grouping = Grouping([function(lambda row: row["a"])])
    group = Group(grouping, Count(), LIMIT, [MapStep(function(lambda row: row["b"]))])
    error = outcome(there, [], group, None, [{"a": 1, "left": 2}], 1)
    assert error.message == 'No attribute `b` in object:\n{\n\t"a":\t1,\n\t"left":\t2\n}'


def test_the_greatest_row_is_kept_raw() -> None:
    pipeline = Pipeline([FilterStep(function(lambda row: row["a"] > 1))], Max(function(lambda row: row["a"])))
    pipeline.feed([b'{"a":1,"b":"x"}', b'{"a":3,"b":"y"}', b'{"a":3,"b":"z"}', b'{"b":4}'])
    assert pipeline.needed == {"a"}
    assert pipeline.partial() == [{"a": 3, "b": "y"}]


def test_only_the_fields_that_are_looked_at_are_decoded() -> None:
    pipeline = Pipeline([FilterStep(function(lambda row: row["a"] > 1))], Sum(function(lambda row: row["b"])))
    assert pipeline.needed == {"a", "b"}
    pipeline.feed([b'{"a": 2, "b": 3, "c": "x"}', b'{"a": 1, "b": 5}'])
    assert pipeline.partial() == [3, 1]


def test_the_top_of_an_order_keeps_raw_rows() -> None:
    top = Top(Ordering([(function(lambda row: row["a"]), True)]), 2)
    pipeline = Pipeline([], top)
    pipeline.feed([b'{"a":%d,"b":"x"}' % n for n in range(1000)])
    assert pipeline.needed == {"a"}
    assert pipeline.partial() == [{"a": 999, "b": "x"}, {"a": 998, "b": "x"}]


@pytest.mark.parametrize("wire", [{"shuffle": 1}, {}])
def test_a_step_that_nobody_knows_is_refused(wire: dict[str, Any]) -> None:
    with pytest.raises(ReqlError, match="Unknown pipeline step"):
        steps_from_wire([wire])


@pytest.mark.parametrize("limit", [1, 2])
def test_a_document_that_is_not_wanted_any_more_cannot_fail(limit: int) -> None:
    raw = [b'{"a": 0, "n": 1}', b'{"a": 1, "n": 2}', b'{"a": 1, "n": 3}', b'{"n": 4}', b'{"a": 1}']
    wanted = FilterStep(function(lambda row: row["a"] == 1), function(lambda: r.error()))
    chunk = Pipeline([wanted], limit=limit).feed(raw)
    assert chunk is not None
    assert [row["n"] for row in chunk.values()] == [2, 3][:limit]
    chunk = Pipeline([wanted, MapStep(function(lambda row: row["n"]))], limit=limit).feed(raw)
    assert chunk is not None
    assert chunk.values() == [2, 3][:limit]
    with pytest.raises(ReqlError, match="No attribute `a`"):
        Pipeline([wanted], limit=3).feed(raw)
