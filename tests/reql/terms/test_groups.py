"""`group`, `ungroup`, and what other terms do with grouped data."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rethinkdb import r

from photondb.reql.errors import ErrorKind, ReqlError
from tests.reql.database import RunningDatabase
from tests.reql.evaluate import evaluate, failure

NUMBERS = r.range(10).group(r.row % 3)
ROWS = r.expr([{"a": 1, "t": [1, 2]}, {"a": 2, "t": [1]}, {"t": []}, {"a": 1, "b": True}])


@pytest.mark.parametrize("make", [lambda rows: r.expr(rows), lambda rows: r.expr(rows).union(r.range(0))])
@pytest.mark.parametrize(
    ("by", "options", "expected"),
    [
        (["a"], {}, [[None, 1], [1, 2], [2, 1]]),
        ([lambda row: row["a"]], {}, [[None, 1], [1, 2], [2, 1]]),
        (["a", "b"], {}, [[[None, None], 1], [[1, True], 1], [[1, None], 1], [[2, None], 1]]),
        (["t"], {}, [[[], 1], [[1], 1], [[1, 2], 1], [None, 1]]),
        (["t"], {"multi": True}, [[None, 2], [1, 2], [2, 1]]),
        (["t", "a"], {"multi": True}, [[[None, None], 1], [[None, 1], 1], [[1, 1], 1], [[1, 2], 1], [[2, 1], 1]]),
        ([None], {}, [[None, 4]]),
        ([lambda: 1], {}, [[1, 4]]),
    ],
)
def test_group(make: Any, by: list[Any], options: dict[str, Any], expected: Any) -> None:
    assert evaluate(make(evaluate(ROWS)).group(*by, **options).count()) == expected


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (NUMBERS, [[0, [0, 3, 6, 9]], [1, [1, 4, 7]], [2, [2, 5, 8]]]),
        (NUMBERS.map(r.row * 2).filter(r.row > 10), [[0, [12, 18]], [1, [14]], [2, [16]]]),
        (NUMBERS.filter(r.row > 8), [[0, [9]]]),
        (NUMBERS.filter(r.row > 8).count(), [[0, 1]]),
        (NUMBERS.count(lambda x: x > 5), [[0, 2], [1, 1], [2, 1]]),
        (NUMBERS.concat_map(lambda x: [x, x]).count(), [[0, 8], [1, 6], [2, 6]]),
        (NUMBERS.sum(), [[0, 18], [1, 12], [2, 15]]),
        (NUMBERS.avg(), [[0, 4.5], [1, 4], [2, 5]]),
        (NUMBERS.min(), [[0, 0], [1, 1], [2, 2]]),
        (NUMBERS.max(lambda x: 0 - x), [[0, 0], [1, 1], [2, 2]]),
        (NUMBERS.reduce(lambda a, b: a + b), [[0, 18], [1, 12], [2, 15]]),
        (NUMBERS.limit(1), [[0, [0]], [1, [1]], [2, [2]]]),
        (NUMBERS.skip(3), [[0, [9]], [1, []], [2, []]]),
        (NUMBERS[-1], [[0, 9], [1, 7], [2, 8]]),
        (NUMBERS.order_by(r.desc(lambda x: x)).limit(1), [[0, [9]], [1, [7]], [2, [8]]]),
        (NUMBERS.distinct().count(), [[0, 4], [1, 3], [2, 3]]),
        (NUMBERS.contains(4), [[0, False], [1, True], [2, False]]),
        (NUMBERS.is_empty(), [[0, False], [1, False], [2, False]]),
        (NUMBERS.offsets_of(4), [[0, []], [1, [1]], [2, []]]),
        (NUMBERS.union([7]).count(), [[0, 5], [1, 4], [2, 4]]),
        (NUMBERS.count() + 1, [[0, 5], [1, 4], [2, 4]]),
        (NUMBERS.count().do(lambda n: n * n), [[0, 16], [1, 9], [2, 9]]),
        (NUMBERS.sum().default(0), [[0, 18], [1, 12], [2, 15]]),
        (NUMBERS.coerce_to("array"), [[0, [0, 3, 6, 9]], [1, [1, 4, 7]], [2, [2, 5, 8]]]),
        (NUMBERS.count().type_of(), "GROUPED_DATA"),
        (NUMBERS.type_of(), "GROUPED_STREAM"),
        (NUMBERS.ungroup().type_of(), "ARRAY"),
        (
            NUMBERS.count().ungroup(),
            [{"group": 0, "reduction": 4}, {"group": 1, "reduction": 3}, {"group": 2, "reduction": 3}],
        ),
        (NUMBERS.ungroup()["group"], [0, 1, 2]),
        (NUMBERS.count().ungroup().order_by(r.desc("reduction"), "group").limit(2)["group"], [0, 1]),
        (ROWS.group("a")["t"], [[None, [[]]], [1, [[1, 2]]], [2, [[1]]]]),
        (ROWS.group("a").pluck("b"), [[None, [{}]], [1, [{}, {"b": True}]], [2, [{}]]]),
        (ROWS.group("a").has_fields("b").count(), [[1, 1]]),
        (ROWS.group("a").without(r.args(["t", "a"])), [[None, [{}]], [1, [{}, {"b": True}]], [2, [{}]]]),
        (ROWS.group("a").limit(r.args([1])).count(), [[None, 1], [1, 1], [2, 1]]),
        (r.branch(True, NUMBERS, None).count(), [[0, 4], [1, 3], [2, 3]]),
        (r.expr([]).group("a").count(), []),
        (r.expr([{"a": {"x": 1}}, {"a": {"x": 1}}]).group("a").count(), [[{"x": 1}, 2]]),
        (r.expr([1, True, "1"]).group(r.row).count(), [[True, 1], [1, 1], ["1", 1]]),
        (r.expr([[1, 1], [2]]).map(lambda x: x.group(lambda y: y).count().ungroup().count()), [1, 1]),
    ],
)
def test_grouped_data(query: Any, value: Any) -> None:
    assert evaluate(query) == value


def test_groups_may_come_out_of_a_function() -> None:
    assert evaluate(r.do(3, lambda n: r.range(4).group(lambda x: x % n)).limit(1)) == [[0, [0]], [1, [1]], [2, [2]]]


@pytest.mark.parametrize(
    ("query", "kind", "message"),
    [
        (r.expr([1]).group(), ErrorKind.LOGIC, "Cannot group by nothing."),
        (
            NUMBERS.group(r.row),
            ErrorKind.LOGIC,
            "Cannot call `group` on the output of `group` (did you mean to `ungroup`?).",
        ),
        (r.expr([1]).ungroup(), ErrorKind.LOGIC, "Expected type GROUPED_DATA but found DATUM:\n[\n\t1\n]"),
        (
            r.expr([1]).union(NUMBERS),
            ErrorKind.LOGIC,
            "Cannot treat the output of `group` as a stream (did you mean to `ungroup`?).",
        ),
        (
            NUMBERS.fold(1, lambda a, b: a + b),
            ErrorKind.LOGIC,
            "Cannot treat the output of `group` as a stream (did you mean to `ungroup`?).",
        ),
        (r.expr([1, 2]).group(index="a"), ErrorKind.LOGIC, "Expected type TABLE but found DATUM:\n[\n\t1,\n\t2\n]"),
        (NUMBERS.avg("a"), ErrorKind.LOGIC, "Cannot perform get_field on a non-object non-sequence `0`."),
        (r.range().group(r.row % 2).count(), ErrorKind.LOGIC, None),
    ],
)
def test_what_cannot_be_grouped(query: Any, kind: ErrorKind, message: str | None) -> None:
    error = failure(query)
    assert error.kind == kind
    assert error.message == message or (message is None and "infinite stream" in error.message)


def test_groups_stay_within_the_array_limit() -> None:
    error = failure(r.range(9).group(r.row), array_limit=8)
    assert (error.kind, error.message) == (ErrorKind.RESOURCE_LIMIT, "Too many groups (> 8).")
    error = failure(r.range(9).group(r.row % 2), array_limit=8)
    assert error.kind == ErrorKind.RESOURCE_LIMIT
    assert error.message == (
        "Grouped data over size limit `8`.  Try putting a reduction (like `.reduce` or `.count`) on the end."
    )
    assert evaluate(r.range(9).group(r.row % 2).count(), array_limit=8) == [[0, 5], [1, 4]]
    crowd = r.expr([{"a": [1, 2, 3], "b": [1, 2, 3]}])
    assert failure(crowd.group("a", "b", multi=True), array_limit=8).message == "Too many groups (> 8)."
    assert len(evaluate(crowd.group("a", "b", multi=True), array_limit=9)) == 9


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-9, 9)), max_size=60))
def test_ungrouping_gives_back_every_element(pairs: list[tuple[int, int]]) -> None:
    rows = [{"k": k, "v": v} for k, v in pairs]
    groups = evaluate(r.expr(rows).group("k").ungroup())
    assert [group["group"] for group in groups] == sorted({k for k, _ in pairs})
    assert [group["reduction"] for group in groups] == [
        [row for row in rows if row["k"] == group["group"]] for group in groups
    ]
    sums = evaluate(r.expr(rows).group("k").sum("v"))
    assert sum(total for _, total in sums) == sum(v for _, v in pairs)


def test_tables_are_grouped_by_their_indexes(database: RunningDatabase) -> None:
    database.run(r.table_create("posts"))
    posts = r.table("posts")
    database.run(posts.insert([{"id": i, "by": f"u{i % 3}", "tags": [i % 2, i % 2, "x"]} for i in range(12)]))
    database.run(posts.insert({"id": 99, "tags": None}))
    database.run(posts.index_create("by"))
    database.run(posts.index_create("tags", multi=True))
    database.run(posts.index_create("pair", lambda row: [row["by"], row["id"] % 2]))
    database.run(posts.index_wait())

    def groups(query: Any, **options: Any) -> Any:
        return database.run(query, **options)["data"]

    assert groups(posts.group(index="by").count()) == [["u0", 4], ["u1", 4], ["u2", 4]]
    assert groups(posts.group("by").count()) == [[None, 1], ["u0", 4], ["u1", 4], ["u2", 4]]
    assert groups(posts.group(index="tags").count()) == [[0, 12], [1, 12], ["x", 12]]
    assert groups(posts.group("by", index="tags").count())[:2] == [[["u0", 0], 4], [["u0", 1], 4]]
    assert groups(posts.group(index="id").count())[-1] == [99, 1]
    assert groups(posts.group(index="pair").count())[0] == [["u0", 0], 2]
    assert groups(posts.group(index="pair", multi=True).count())[:2] == [[0, 6], [1, 6]]
    assert groups(posts.group(index="by").order_by(r.desc("id")).limit(1)["id"])[0] == ["u0", [9]]
    assert groups(posts.filter(r.row["id"] < 3).group("by").sum("id")) == [["u0", 0], ["u1", 1], ["u2", 2]]
    with pytest.raises(ReqlError, match="Expected type TABLE but found TABLE_SLICE"):
        database.run(posts.between(0, 5).group(index="by"))
    with pytest.raises(ReqlError, match="Index `nix` was not found on table"):
        database.run(posts.group(index="nix"))
    with pytest.raises(ReqlError, match="Grouped data over size limit `5`"):
        database.run(posts.group("by"), array_limit=5)
