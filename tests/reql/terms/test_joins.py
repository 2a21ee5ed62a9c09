"""`inner_join`, `outer_join`, `eq_join`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rethinkdb import r

from photondb.api.context import CallContext
from photondb.reql.errors import ErrorKind, ReqlError
from tests.reql.database import RunningDatabase
from tests.reql.evaluate import evaluate, failure

LEFT = r.expr([{"a": 1}, {"a": 2}, {"a": 3}])
RIGHT = r.expr([{"b": 2}, {"b": 3}, {"b": 2, "c": 1}])


def same(left: Any, right: Any) -> Any:
    return left["a"] == right["b"]


@pytest.mark.parametrize("right", [RIGHT, RIGHT.union(r.range(0))])
@pytest.mark.parametrize("left", [LEFT, LEFT.union(r.range(0))])
def test_joins_by_a_predicate(left: Any, right: Any) -> None:
    pairs = [
        {"left": {"a": 2}, "right": {"b": 2}},
        {"left": {"a": 2}, "right": {"b": 2, "c": 1}},
        {"left": {"a": 3}, "right": {"b": 3}},
    ]
    assert evaluate(left.inner_join(right, same)) == pairs
    assert evaluate(left.outer_join(right, same)) == [{"left": {"a": 1}}, *pairs]
    assert evaluate(left.outer_join(right, same).zip()["a"]) == [1, 2, 2, 3]


def test_a_join_is_an_array_when_its_left_side_is_one() -> None:
    assert evaluate(LEFT.inner_join(r.range(2), lambda left, right: True).type_of()) == "ARRAY"
    assert evaluate(r.range(2).inner_join(LEFT, lambda left, right: True).type_of()) == "STREAM"
    assert evaluate(r.expr([1]).inner_join([1, 2], True).count()) == 2
    assert failure(LEFT.inner_join(RIGHT, lambda left, right: True), array_limit=8).kind == ErrorKind.RESOURCE_LIMIT


def test_groups_are_joined_one_by_one() -> None:
    groups = r.range(4).group(lambda n: n % 2)
    assert evaluate(groups.inner_join([1, 2], lambda a, b: a == b).count()) == [[0, 1], [1, 1]]
    assert evaluate(groups.outer_join([1], lambda a, b: a == b).zip().count()) == [[0, 2], [1, 2]]


@pytest.mark.parametrize(
    ("query", "kind", "message"),
    [
        (LEFT.inner_join(RIGHT, lambda left, right: left["x"]), ErrorKind.NON_EXISTENCE, "No attribute `x` in object:"),
        (LEFT.inner_join(1, same), ErrorKind.LOGIC, "Cannot convert NUMBER to SEQUENCE"),
        (
            LEFT.outer_join(RIGHT, lambda left: True),
            ErrorKind.LOGIC,
            "Expected function with 2 arguments but found function with 1 argument.",
        ),
        (LEFT.inner_join(r.range(), lambda left, right: True), ErrorKind.LOGIC, "Cannot use an infinite stream"),
        (LEFT.eq_join("a", RIGHT), ErrorKind.LOGIC, "Expected type TABLE but found DATUM:"),
    ],
)
def test_what_cannot_be_joined(query: Any, kind: ErrorKind, message: str) -> None:
    error = failure(query)
    assert error.kind == kind
    assert error.message.startswith(message)


keys = st.lists(st.integers(0, 3), max_size=6)


@given(keys, keys)
def test_an_outer_join_is_an_inner_join_and_what_it_leaves_out(left: list[int], right: list[int]) -> None:
    a, b = r.expr([{"a": key} for key in left]), r.expr([{"b": key} for key in right])
    inner, outer = evaluate(a.inner_join(b, same)), evaluate(a.outer_join(b, same))
    assert [pair for pair in outer if "right" in pair] == inner
    assert [pair["left"]["a"] for pair in outer if "right" not in pair] == [key for key in left if key not in right]


# --- eq_join

USERS = [{"id": i, "name": f"u{i}", "team": i % 3, "tags": [i % 2, "all", "all"]} for i in range(20)]
POSTS = [{"id": f"p{i:03}", "by": i % 25, "kind": i % 4} for i in range(100)]
users, posts = r.table("users"), r.table("posts")


@pytest.fixture(scope="module", autouse=True)
def _tables(database: RunningDatabase) -> None:
    for name in ("users", "posts"):
        database.run(r.table_create(name))
    database.run(users.insert(USERS))
    database.run(posts.insert(POSTS))
    database.run(users.index_create("team"))
    database.run(users.index_create("tags", multi=True))
    database.run(users.index_wait())


def test_eq_join_finds_documents_by_primary_key(database: RunningDatabase) -> None:
    pairs = database.run(posts.order_by(index="id").eq_join("by", users))
    assert [(pair["left"]["id"], pair["right"]["id"]) for pair in pairs] == [
        (post["id"], post["by"]) for post in POSTS if post["by"] < 20
    ]
    assert database.run(posts.eq_join(lambda row: row["by"], users).zip().filter({"team": 1}).count()) == 28
    assert database.run(posts.eq_join("nowhere", users)) == []
    assert database.run(posts.eq_join(lambda row: None, users)) == []
    assert database.run(posts.eq_join("by", users, index="id").count()) == 80
    assert database.run(r.expr([{"k": 1}, {}, {"k": 1}]).eq_join("k", users)["right"]["name"]) == ["u1", "u1"]
    assert database.run(r.expr([{"k": 1}]).eq_join("k", users).type_of()) == "ARRAY"
    assert database.run(posts.eq_join("by", users).type_of()) == "STREAM"
    assert database.run(posts.eq_join("by", users).limit(2).count()) == 2


def test_eq_join_finds_documents_by_an_index(database: RunningDatabase) -> None:
    pairs = database.run(posts.eq_join("kind", users, index="team"))
    expected = [(post["id"], user["id"]) for post in POSTS for user in USERS if user["team"] == post["kind"]]
    assert sorted((pair["left"]["id"], pair["right"]["id"]) for pair in pairs) == expected
    ordered = database.run(posts.order_by(index=r.desc("id")).eq_join("kind", users, index="team", ordered=True))
    assert [pair["left"]["id"] for pair in ordered] == [left for left, _ in reversed(expected)]


def test_eq_join_finds_a_document_as_often_as_it_is_in_a_multi_index(database: RunningDatabase) -> None:
    left = r.expr([{"k": "all"}, {"k": 1}, {"k": "none"}])
    pairs = database.run(left.eq_join("k", users, index="tags"))
    assert sorted((str(pair["left"]["k"]), pair["right"]["id"]) for pair in pairs) == sorted(
        [("1", user["id"]) for user in USERS if user["id"] % 2] + [("all", user["id"]) for user in USERS] * 2
    )
    ordered = database.run(left.eq_join("k", users, index="tags", ordered=True))
    assert [pair["left"]["k"] for pair in ordered] == ["all"] * 40 + [1] * 10


def test_eq_join_reads_a_chunk_of_documents_at_once(database: RunningDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    get = database.storage.get

    async def counted(context: CallContext, keys: Sequence[tuple[int, bytes]]) -> list[bytes | None]:
        read.append(len(keys))
        return await get(context, keys)

    monkeypatch.setattr(database.storage, "get", counted)
    assert database.run(posts.eq_join("by", users).count()) == 80
    assert read == [25]


@pytest.mark.parametrize(
    ("query", "kind", "message"),
    [
        (
            posts.eq_join("by", users, index="nix"),
            ErrorKind.OP_FAILED,
            "Index `nix` was not found on table `test.users`.",
        ),
        (posts.eq_join("by", users, index=1), ErrorKind.LOGIC, "Expected type STRING but found NUMBER."),
        (posts.eq_join("by", users.between(1, 2)), ErrorKind.LOGIC, "Expected type TABLE but found TABLE_SLICE:"),
        (posts.eq_join(lambda row: {}, users), ErrorKind.LOGIC, "Primary keys must be"),
        (
            posts.group("kind").eq_join("by", users),
            ErrorKind.LOGIC,
            "Cannot treat the output of `group` as a stream (did you mean to `ungroup`?).",
        ),
    ],
)
def test_what_eq_join_refuses(database: RunningDatabase, query: Any, kind: ErrorKind, message: str) -> None:
    with pytest.raises(ReqlError) as caught:
        database.run(query)
    assert caught.value.kind == kind
    assert caught.value.message.startswith(message)
