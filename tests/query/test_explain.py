"""The run option `explain`: what is told about how a query is run, and that plans are what they should be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rethinkdb import r

from photondb.reql.errors import ReqlError
from tests.reql.database import RunningDatabase

T = r.table("t")
ROWS = 2000


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDatabase]:
    with RunningDatabase(tmp_path_factory.mktemp("explain") / "data") as database:
        database.run(r.table_create("t"))
        database.run(T.index_create("a"))
        database.run(T.index_create("both", [r.row["g"], r.row["a"]]))
        database.run(T.index_create("tags", multi=True))
        database.run(
            T.insert([{"id": n, "a": n % 500, "g": n % 5, "n": n % 300, "tags": [n % 90, "x"]} for n in range(ROWS)])
        )
        database.run(T.index_wait())
        database.run(r.table_create("few"))
        database.run(r.table("few").insert([{"id": n} for n in (1, 2, 4)]))
        database.run(r.table_create("sparse"))
        database.run(r.table("sparse").index_create("seldom"))
        database.run(r.table("sparse").index_wait())
        rows = [{"id": n, **({} if n % 60 else {"seldom": 1 if n else None})} for n in range(700)]
        database.run(r.table("sparse").insert(rows))
        database.collect_statistics()
        yield database


LOOK_UP = "look up the partners, many at a time"


def scan_of(plan: dict[str, Any]) -> dict[str, Any]:
    while "input" in plan:
        plan = plan["input"]
    return plan


def explain(database: RunningDatabase, query: Any, **options: Any) -> dict[str, Any]:
    plan: dict[str, Any] = database.run(query, explain=True, **options)
    return plan


@pytest.mark.parametrize(
    ("query", "by"),
    [
        (T.filter(r.row["a"] == 5), "index a"),
        (T.filter({"a": 5}), "index a"),
        (T.filter({"a": 5, "g": 3}), "index both"),
        (T.filter((r.row["a"] > 3) & (r.row["a"] < 9)).count(), "index a"),
        (T.filter(r.row["tags"].contains(4)), "index tags"),
        (T.filter(lambda row: r.expr([1, 2]).contains(row["a"])), "index a"),
        (T.filter(r.row["b"] == 1).filter(r.row["a"] == 5).map(r.row["id"]).sum(), "index a"),
        (T.filter(r.row["a"] == 5).update({"x": 1}), "index a"),
        (T.order_by(index="id").filter(r.row["a"] == 5), "index a"),
        (T.filter(r.row["a"] == 5, index=False), "whole table"),
        (T.filter(r.row["a"] == 5, default=True), "primary key"),
        (T.filter(r.row["c"] == 5), "whole table"),
        (T.filter({"id": 5}), "primary key"),
        (T.filter(r.row["id"] < 3).count(), "primary key"),
        (T.filter((r.row["id"] == 3) | (r.row["id"] == 9)).update({"x": 1}), "primary key"),
        (T.filter((r.row["a"] > 3) & (r.row["id"] == 9)), "primary key"),
        (T.get_all(5, index="a").filter(r.row["g"] == 1), "index a"),
        (T.get(5)["a"], "primary key"),
    ],
)
def test_how_rows_are_found(database: RunningDatabase, query: Any, by: str) -> None:
    assert scan_of(explain(database, query))["by"] == by


def test_the_tree(database: RunningDatabase) -> None:
    plan = explain(database, T.filter(r.row["a"] == 5).order_by("id").limit(2))
    names = []
    step = plan
    while step is not None:
        names.append((step["step"], step["runs_in"]))
        assert step["cost"] > 0
        step = step.get("input")
    assert names == [
        ("limit", "storage"),
        ("first in order", "storage"),
        ("filter", "storage"),
        ("scan", "storage"),
    ]
    assert plan["rows"] == 2
    scan = scan_of(plan)
    assert scan["table"] == "test.t"
    assert scan["instead_of"][-1]["by"] == "whole table"
    assert 'row["a"] ==' in scan["why"]


def test_several_inputs(database: RunningDatabase) -> None:
    plan = explain(database, T.filter({"a": 1}).union(T.get_all(2, index="a")))
    assert plan["step"] == "union"
    assert [scan_of(part)["by"] for part in plan["input"]] == ["index a", "index a"]
    both = explain(database, {"one": T.count(), "two": T.filter({"a": 1}).count()})
    assert [part["step"] for part in both["input"]] == ["count", "count"]


def test_nothing_is_carried_out(database: RunningDatabase) -> None:
    for write in (T.delete(), T.get(1).update({"a": 0}), T.insert({"id": "new"}), r.table_drop("t")):
        assert explain(database, write)["step"] in ("delete", "update", "insert", "table_drop")
    assert database.run(T.count()) == ROWS
    assert database.run(T.get(1)["a"]) == 1


def test_a_choice_that_the_query_makes(database: RunningDatabase) -> None:
    query = T.filter((r.row["a"] == 5) & (r.row["g"] == 0), index="a")
    assert scan_of(explain(database, query))["by"] == "index a"
    with pytest.raises(ReqlError, match="cannot answer this filter"):
        database.run(T.filter(r.row["g"] == 5, index="a"))
    with pytest.raises(ReqlError, match="can only be used on a table"):
        database.run(T.get_all(5, index="a").filter(r.row["g"] == 5, index="a"))
    with pytest.raises(ReqlError, match="Expected the name of an index or false"):
        database.run(T.filter(r.row["g"] == 5, index=True))
    assert scan_of(explain(database, T.filter({"a": 5}), optimizations=False))["by"] == "primary key"


def test_wrong_values(database: RunningDatabase) -> None:
    with pytest.raises(ReqlError, match='must be a boolean or "analyze"'):
        database.run(T, explain="loud")
    assert database.run(T.count(), explain=False) == ROWS


def test_reading_must_be_allowed(database: RunningDatabase) -> None:
    database.run(r.db("rethinkdb").table("users").insert({"id": "guest", "password": False}))
    with pytest.raises(ReqlError, match="does not have the required `read` permission"):
        database.run(T.filter({"a": 1}), user="guest", explain=True)


def test_an_index_that_is_new_or_gone(database: RunningDatabase) -> None:
    query = T.filter(r.row["n"] == 3).count()
    expected = database.run(query)
    database.run(T.index_create("n"))
    database.run(T.index_wait("n"))
    assert scan_of(explain(database, query))["by"] == "index n"
    assert database.run(query) == expected
    database.run(T.index_drop("n"))
    assert scan_of(explain(database, query))["by"] == "whole table"
    assert database.run(query) == expected


def test_statistics_follow_the_data(tmp_path: Path) -> None:
    """With the histogram the planner knows that a value is frequent."""
    with RunningDatabase(tmp_path / "data") as database:
        database.run(r.table_create("t"))
        database.run(T.index_create("a"))
        database.run(T.index_wait())
        documents = [{"id": n, "a": n if n % 10 == 0 else -1} for n in range(3000)]
        database.run(T.insert(documents, durability="soft"))
        often, seldom = T.filter({"a": -1}), T.filter({"a": 10})
        database.collect_statistics()
        assert scan_of(explain(database, often))["by"] == "whole table"
        assert scan_of(explain(database, often))["instead_of"][0]["rows"] == pytest.approx(2700, rel=0.2)
        assert scan_of(explain(database, seldom))["by"] == "index a"


# --- with what came of it


def test_actual_rows(database: RunningDatabase) -> None:
    plan = database.run(T.filter({"a": 5, "g": 0}, index="a").map(r.row["id"]), explain="analyze")
    assert (plan["step"], plan["actual_rows"]) == ("map", 4)
    chosen = plan["input"]
    assert (chosen["step"], chosen["actual_rows"]) == ("filter", 4)
    scan = chosen["input"]
    assert (scan["actual_rows"], scan["times"], scan["by"]) == (4, 1, "index a")
    assert plan["ms"] >= scan["ms"] > 0


def test_steps_outside_of_storage_and_aggregates(database: RunningDatabase) -> None:
    random = T.filter(lambda row: row["a"] >= r.random(1)).filter({"g": 1}).count()
    plan = database.run(random, explain="analyze")
    assert (plan["step"], plan["actual_rows"]) == ("count", 1)
    assert [plan["input"]["runs_in"], plan["input"]["input"]["runs_in"]] == ["query", "query"]
    assert plan["input"]["actual_rows"] == 400
    assert scan_of(plan)["actual_rows"] == ROWS
    counted = database.run(T.filter({"a": 5}).count(), explain="analyze")
    assert (counted["input"]["step"], counted["input"]["actual_rows"]) == ("filter", 4)


def test_other_scans(database: RunningDatabase) -> None:
    query = T.get_all(1, 2, 3).map(lambda row: T.filter({"a": row["a"]}).count())
    plan = database.run(query, explain="analyze")
    others = plan["other_scans"]
    assert sum(scan["times"] for scan in others) == 3
    assert {scan["by"] for scan in others} == {"index a"}
    assert sum(scan["actual_rows"] for scan in others) == 12


def test_an_index_that_was_left_is_told(database: RunningDatabase) -> None:
    plan = database.run(T.filter(r.row["a"] >= 0, index="a"), explain="analyze")
    assert scan_of(plan)["by"] == "whole table"
    assert scan_of(plan)["actual_rows"] == ROWS
    assert plan["actual_rows"] == ROWS


def test_what_writes_is_not_run(database: RunningDatabase) -> None:
    with pytest.raises(ReqlError, match="A query that writes cannot be run"):
        database.run(T.delete(), explain="analyze")
    assert database.run(T.count()) == ROWS


def test_what_few_documents_differ_from(database: RunningDatabase) -> None:
    database.run(r.table_create("states"))
    states = r.table("states")
    try:
        database.run(states.insert([{"id": n, "state": "done" if n % 100 else "failed"} for n in range(450)]))
        database.run(states.index_create("state"))
        database.run(states.index_wait())
        database.collect_statistics()
        query = states.filter(r.row["state"] != "done")
        scan = scan_of(explain(database, query))
        assert (scan["by"], scan["ranges"]) == ("index state", 5)
        assert [row["id"] for row in database.run(query)] == list(range(0, 450, 100))
        assert scan_of(explain(database, states.filter(r.row["state"] != "failed")))["by"] == "whole table"
    finally:
        database.run(r.table_drop("states"))


def test_the_first_rows_of_an_order(database: RunningDatabase) -> None:
    query = T.order_by(r.desc("a")).limit(3)
    assert scan_of(explain(database, query))["by"] == "index a"
    assert scan_of(explain(database, T.order_by("a").limit(3)))["by"] == "index a"
    assert scan_of(explain(database, T.order_by("a", r.desc("g")).limit(3)))["by"] == "index a"
    assert explain(database, T.order_by("id").limit(3))["input"]["step"] == "scan"
    assert [row["id"] for row in database.run(T.order_by("a", r.desc("id")).limit(3))] == [1500, 1000, 500]
    assert scan_of(explain(database, T.order_by(r.desc("a")).limit(ROWS)))["by"] == "primary key"
    assert [row["id"] for row in database.run(query)] == [499, 999, 1499]
    plan = database.run(query, explain="analyze")
    assert plan["actual_rows"] == 3
    assert scan_of(plan)["actual_rows"] == 3
    plan = database.run(T.order_by(r.desc("a"), "n").limit(3), explain="analyze")
    assert scan_of(plan)["actual_rows"] == 4  # so many have the value of the third one
    assert database.run(T.max("a")["id"]) == 499
    assert database.run(T.min("a")["id"]) == 0


def test_joins(database: RunningDatabase) -> None:
    plan = explain(database, T.limit(100).eq_join("g", T, index="a").zip())
    assert (plan["step"], plan["input"]["step"]) == ("zip", "eq_join")
    assert (plan["input"]["table"], plan["input"]["by"]) == ("test.t", "index a")
    assert plan["input"]["method"] == "look up the rows of the left side, many at a time"
    assert plan["input"]["input"]["rows"] == 100
    assert explain(database, T.eq_join("n", T))["method"] == "look up the rows of the left side, many at a time"
    few = r.table("few")
    assert explain(database, T.eq_join("g", few))["method"] == "hash table of the right side"
    assert database.run(T.eq_join("g", few).count()) == ROWS * 3 // 5
    assert explain(database, T.limit(9).eq_join("g", T))["by"] == "primary key"
    same = explain(database, T.inner_join(T.limit(3), lambda left, right: left["a"] == right["g"]))
    assert same["method"] == "hash table of the right side"
    assert [step["step"] for step in same["input"]] == ["scan", "limit"]
    less = explain(database, T.outer_join(T.limit(3), lambda left, right: left["a"] < right["g"]))
    assert less["method"] == "call the predicate for every pair"
    assert less["cost"] > same["cost"]


@pytest.mark.parametrize(
    ("left", "function", "method"),
    [
        (
            T.limit(3),
            lambda left, right: left["g"] == right["id"],
            "look up the partners, many at a time: by primary key",
        ),
        ([{"g": 1}], lambda left, right: right["a"] == left["g"], f"{LOOK_UP}: by index a"),
        (T, lambda left, right: left["g"] == right["a"], "hash table of the right side"),
        (
            T,
            lambda left, right: (left["id"] == right["id"]) & (left["g"] > 1),
            "merge both sides, which are in the order of what must be equal",
        ),
    ],
)
def test_methods_of_joins(database: RunningDatabase, left: Any, function: Any, method: str) -> None:
    query = r.expr(left).inner_join(T, function)
    assert explain(database, query)["method"] == method
    expected = database.run(query.count(), optimizations=False) if left is not T else ROWS * 3 // 5
    if method.startswith("hash"):
        expected = ROWS * 4
    assert database.run(query.count()) == expected
    plan = explain(database, query, optimizations=False)
    assert plan["method"] == "call the predicate for every pair"


def test_whole_orders_by_an_index(database: RunningDatabase) -> None:
    def plans(query: Any) -> list[tuple[str, str]]:
        step, found = explain(database, query), []
        while step is not None:
            found.append((step["step"], step.get("by", "")))
            step = step.get("input")
        return found

    assert plans(T.order_by("a")) == [("scan", "index a")]
    assert plans(T.order_by("g", "a").pluck("id")) == [("map", ""), ("scan", "index both")]
    assert scan_of(explain(database, T.order_by("a")))["why"] == "its order is wanted"
    assert plans(T.order_by("n")) == [("sort", ""), ("scan", "primary key")]  # no index
    assert plans(T.order_by(r.desc("a"))) == [("sort", ""), ("scan", "primary key")]
    assert plans(T.order_by("a", r.desc("g"))) == [("sort", ""), ("scan", "primary key")]
    assert plans(T.filter(r.row["n"] < 900).order_by("a").limit(3)) == [
        ("limit", ""),
        ("filter", ""),
        ("scan", "index a"),
    ]
    assert plans(T.filter({"g": 1, "a": 5}).order_by("a"))[-1] == ("scan", "index both")  # few are left to be sorted
    assert plans(T.filter(r.row["n"] < 9).order_by("a"))[:1] == [("sort", "")]
    sparse = r.table("sparse").order_by("seldom")
    assert plans(sparse)[0] == ("sort", "")  # null stands elsewhere
    database.run(T.index_create("carries", r.row["a"], include=["n"]))
    database.run(T.index_wait())
    database.collect_statistics()
    try:
        query = T.filter(r.row["n"] < 9).order_by("a").pluck("a", "n")
        scan = scan_of(explain(database, query))
        assert (scan["by"], scan["why"]) == ("index carries", "its order is wanted, and it carries what is")
        assert database.run(query) == database.run(query, optimizations=False)
        assert scan_of(explain(database, query, array_limit=1000))["by"] == "whole table"
    finally:
        database.run(T.index_drop("carries"))
    assert [row["id"] for row in database.run(T.order_by("a"))][:5] == [0, 500, 1000, 1500, 1]


def test_the_side_that_is_read_first(database: RunningDatabase) -> None:
    few = r.table("few")
    narrowed = [
        (T.inner_join(few, lambda left, right: left["a"] == right["id"]), "index a", 12),
        (T.inner_join(few, lambda left, right: left["id"] == right["id"]), "primary key", 3),
        (T.pluck("a", "id").inner_join([{"x": 7}], lambda left, right: right["x"] == left["a"]), "index a", 4),
        (T.eq_join("a", few), "index a", 12),
        (T.eq_join("a", T).filter({"right": {"id": 3}}), "index a", 4),
        (T.eq_join("g", few).eq_join(r.row["left"]["a"], few), "index a", 12),
        (T.inner_join(few, lambda left, right: left["a"] == right["id"]).limit(5), "index a", 5),
    ]
    for query, by, rows in narrowed:
        plan = database.run(query, explain="analyze")
        join = plan
        while "first" not in join:
            assert isinstance(join["input"], dict), query
            join = join["input"]
        scan = join
        while "input" in scan:
            scan = scan["input"][0] if isinstance(scan["input"], list) else scan["input"]
        assert (join["first"], scan["by"]) == ("right", by), query
        assert scan["why"] == "only rows that the right side may have partners for are read"
        assert scan["actual_rows"] <= max(rows, 12), query
        assert plan["actual_rows"] == rows, query
    others = [
        T.inner_join(few, lambda left, right: left["n"] == right["id"]),  # no index
        T.outer_join(few, lambda left, right: left["a"] == right["id"]),  # which wants all rows
        T.filter(lambda row: row["g"] / 2 >= 0).inner_join(few, lambda left, right: left["a"] == right["id"]),
        T.eq_join("a", T),
        T.get_all(5, index="a").inner_join(few, lambda left, right: left["a"] == right["id"]),
        T.limit(3).eq_join("a", few),
    ]
    for query in others:
        assert "first" not in explain(database, query), query


def test_filters_of_one_side_of_a_join(database: RunningDatabase) -> None:
    joined = T.eq_join("n", T)
    plan = explain(database, joined.filter((r.row["left"]["a"] == 5) & (r.row["right"]["g"] == 0)))
    scan = scan_of(plan["input"] if isinstance(plan["input"]["input"], dict) else plan["input"]["input"][0])
    assert (scan["by"], plan["step"]) == ("index a", "filter")
    assert scan_of(explain(database, joined.filter(r.row["left"]["a"] / 1 == 5)))["by"] == "primary key"
    assert scan_of(explain(database, joined.filter(r.row["left"]["a"] == 5, default=True)))["by"] == "primary key"
    assert scan_of(explain(database, joined.zip().filter(r.row["a"] == 5)))["by"] == "primary key"


def test_hints_for_joins(database: RunningDatabase) -> None:
    few, by_look_up = r.table("few"), "look up the rows of the left side, many at a time"
    assert explain(database, T.eq_join("a", few, join_first="left"))["method"] == "hash table of the right side"
    assert explain(database, T.eq_join("a", few), join_method="look_up")["method"] == by_look_up
    assert explain(database, T.limit(1).eq_join("a", few, join_method="hash"))["method"].startswith("hash")
    assert explain(database, T.eq_join("a", few, join_first="right"))["first"] == "right"
    join = T.inner_join(T, lambda left, right: left["g"] == right["id"])
    for method in ("pairs", "hash", "look_up"):
        plan = explain(database, join, join_method=method)
        assert plan["method"].replace(" ", "_").startswith({"pairs": "call"}.get(method, method))
        assert database.run(T.limit(2).inner_join(T, lambda x, y: x["g"] == y["id"]).count(), join_method=method) == 2
    assert explain(database, T.limit(1).inner_join(few, lambda x, y: x["a"] == y["id"]), optimizations=False)


@pytest.mark.parametrize(
    ("query", "options", "message"),
    [
        (T.eq_join("c", T), {"join_first": "right"}, "needs, on the left, a table with an index"),
        (T.eq_join("a", T), {"join_first": "right"}, "at most 1000 rows"),
        (T.eq_join("a", T), {"join_first": "up"}, '`join_first` must be "left" or "right", not "up"'),
        (T.eq_join("a", T), {"join_method": "merge"}, 'must be "look_up" or "hash", not "merge"'),
        (T.inner_join(T, lambda x, y: x["a"] == y["c"]), {"join_method": "look_up"}, "no table with an index"),
        (T.inner_join(T, lambda x, y: x["a"] == y["c"]), {"join_method": "merge"}, "compared by their primary keys"),
        (T.inner_join(T, lambda x, y: x["a"] == y["c"]), {"join_method": "passes"}, "short enough for a hash table"),
        (T.inner_join(T, lambda x, y: x["a"] < y["c"]), {"join_method": "hash"}, "begins with an equality"),
        (T.inner_join(T, lambda x, y: x["a"] < y["c"]), {"join_first": "right"}, "needs, on the left"),
        (T.inner_join(T, lambda x, y: x["a"] == y["c"]), {"join_method": "quick"}, "one of pairs, hash, passes"),
    ],
)
def test_hints_that_cannot_be_followed(
    database: RunningDatabase, query: Any, options: dict[str, str], message: str
) -> None:
    with pytest.raises(ReqlError, match=message):
        database.run(query.count(), **options)


def test_values_by_an_index(database: RunningDatabase) -> None:
    assert scan_of(explain(database, T.max("a")))["by"] == "index a"
    assert scan_of(explain(database, T.min("a")))["by"] == "index a"
    assert scan_of(explain(database, T.max("c")))["by"] == "primary key"
    assert scan_of(explain(database, r.table("sparse")["seldom"].distinct()))["by"] == "index seldom"
    assert database.run(r.table("sparse")["seldom"].distinct()) == [None, 1]
    assert scan_of(explain(database, T["a"].distinct()))["by"] == "primary key"
    sparse = r.table("sparse").group(index="seldom").count()
    assert scan_of(explain(database, sparse))["by"] == "index seldom"
    assert database.run(sparse.ungroup()) == [{"group": 1, "reduction": 11}]


STEPS = [
    (T.order_by("n").limit(7).pluck("id"), {"map": 7, "limit": 7, "first in order": 7, "scan": ROWS}),
    (T.order_by("n"), {"sort": ROWS, "scan": ROWS}),
    (T.order_by("a").pluck("id"), {"map": ROWS, "scan": ROWS}),
    (T.skip(3).limit(5), {"limit": 5, "skip": 5}),
    (T.limit(4).union(T.get_all(5, index="a")), {"union": 8, "limit": 4, "scan": 4}),
    (T.group("g").count(), {"count": 5, "group": 5, "scan": ROWS}),
    (T.filter({"n": 1}).group("g"), {"group": 1, "filter": 7, "scan": ROWS}),
    (T.get_all(5, index="a").eq_join("g", r.table("few")).zip(), {"zip": 0, "eq_join": 0, "scan": 4}),
    (T.get_all(1, 2, index="a").eq_join("g", r.table("few")), {"eq_join": 8, "scan": 8}),
    (
        T.limit(3).inner_join(r.table("few"), lambda left, right: left["g"] == right["id"]).count(),
        {"count": 1, "inner_join": 2, "limit": 3},
    ),
    (
        T.limit(3).outer_join(T, lambda left, right: left["id"] == right["a"])["left"].limit(6),
        {"limit": 6, "outer_join": 6},
    ),
]


@pytest.mark.parametrize(("query", "rows"), STEPS, ids=lambda value: "-".join(value) if type(value) is dict else None)
def test_actual_rows_of_each_step(database: RunningDatabase, query: Any, rows: dict[str, int]) -> None:
    found: dict[str, list[Any]] = {}

    def look(step: Any) -> None:
        for each in step if type(step) is list else [step]:
            found.setdefault(each["step"], []).append(each.get("actual_rows"))
            assert each.get("ms", 0) >= 0
            look(each.get("input", []))

    look(database.run(query, explain="analyze"))
    for name, count in rows.items():
        assert count in found[name], found
