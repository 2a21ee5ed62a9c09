"""The result cache: answers are given again, and never when they are not true any more."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rethinkdb import r

from photondb.api.storage_status import Positions
from photondb.reql.errors import ReqlError
from services.query.results import Answer, ResultCache
from tests.reql.database import RunningDatabase
from tests.running_suite import RunningSuite

T = r.table("t")
ROWS = 600


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDatabase]:
    with RunningDatabase(tmp_path_factory.mktemp("results") / "data") as database:
        yield database


@pytest.fixture(autouse=True)
def full(database: RunningDatabase) -> None:
    database.clear()
    database.run(r.table_create("t"))
    database.run(T.index_create("g"))
    database.run(T.index_wait())
    database.run(T.insert([{"id": n, "g": n % 7, "pad": "x" * 200} for n in range(ROWS)], durability="soft"))


def hits(database: RunningDatabase, query: Any, **options: Any) -> tuple[Any, bool]:
    """The answer, and whether it came from the cache."""
    before = database.query.results.hits
    answer = database.run(query, cache=True, **options)
    return answer, database.query.results.hits > before


QUERIES = [
    T.count(),
    T.get(5),
    T.get(5)["g"],
    T.filter({"g": 3}).count(),
    T.group("g").count().ungroup(),
    T.get_all(1, 2, index="g").order_by("id").limit(3),
    T.order_by(index="g").map(r.row["id"]),
    T,
    T.eq_join("g", T).zip().count(),
    r.db("test").table("t").between(3, 9).coerce_to("array"),
    r.expr({"a": T.max("id")["id"], "b": [T.min("id")["g"]]}),
]


@pytest.mark.parametrize("query", QUERIES)
def test_an_answer_is_given_again_until_its_table_changes(database: RunningDatabase, query: Any) -> None:
    expected = database.run(query)
    assert hits(database, query) == (expected, False)
    assert hits(database, query) == (expected, True)
    database.run(T.get(5).update({"g": 100}))
    changed = database.run(query)
    assert hits(database, query) == (changed, False)
    assert hits(database, query) == (changed, True)


@pytest.mark.parametrize(
    ("query", "options", "why"),
    [
        (T.sample(3), {}, "gives something else each time"),
        (T.map(lambda row: r.random(5)).count(), {}, "gives something else each time"),
        (T.filter(r.row["at"] == r.now()).count(), {}, "asks for the time"),
        (T.get(1).update({"a": 1}), {}, "it writes"),
        (T.info(), {}, "reads more than documents"),
        (r.db("rethinkdb").table("table_config").count(), {}, "reads a system table"),
        (r.expr(5) + 1, {}, "reads no table"),
        (T.count(), {"profile": True}, "another run option"),
        (T.count(), {"optimizations": False}, "another run option"),
        (r.table(r.expr("t").add("")).count(), {}, "is computed"),
    ],
)
def test_what_is_not_kept(database: RunningDatabase, query: Any, options: dict[str, Any], why: str) -> None:
    kept = len(database.query.results)
    for _ in range(2):
        assert hits(database, query, **options)[1] is False
    assert len(database.query.results) == kept
    state = database.run(query, cache=True, explain=True, **options)["cache"]
    assert state["cached"] is False
    assert why in state["why"]


def test_constants_and_options_tell_answers_apart(database: RunningDatabase) -> None:
    for value in (1, 2, 1.5, True, "1", None):
        assert hits(database, T.filter({"g": value}).count())[1] is False
    assert hits(database, T.filter({"g": 1}).count())[1] is True
    database.run(r.db_create("other"))
    database.run(r.db("other").table_create("t"))
    assert hits(database, T.count(), db="other") == (0, False)
    assert hits(database, T.count())[0] == ROWS
    with pytest.raises(ReqlError, match="over size limit"):
        hits(database, T.coerce_to("array"), array_limit=5)
    assert len(hits(database, T.coerce_to("array"))[0]) == ROWS


def test_a_table_that_is_dropped_and_made_anew(database: RunningDatabase) -> None:
    assert hits(database, T.count()) == (ROWS, False)
    database.run(r.table_drop("t"))
    with pytest.raises(ReqlError, match="does not exist"):
        hits(database, T.count())
    database.run(r.table_create("t"))
    assert hits(database, T.count()) == (0, False)


def test_an_index_that_is_dropped(database: RunningDatabase) -> None:
    query = T.get_all(3, index="g").count()
    expected = hits(database, query)[0]
    assert hits(database, query) == (expected, True)
    database.run(T.index_drop("g"))
    with pytest.raises(ReqlError, match="was not found"):
        hits(database, query)
    database.run(T.index_create("g", lambda row: row["g"] + 1))
    database.run(T.index_wait())
    assert hits(database, query)[0] == database.run(query)


def test_permissions_are_looked_at_each_time(database: RunningDatabase) -> None:
    users = r.db("rethinkdb").table("users")
    database.run(users.get("ada").delete())
    database.run(users.insert({"id": "ada", "password": False}))
    assert hits(database, T.count()) == (ROWS, False)
    with pytest.raises(ReqlError, match="`read` permission"):
        database.run(T.count(), user="ada", cache=True)
    database.run(T.grant("ada", {"read": True}))
    assert database.run(T.count(), user="ada", cache=True) == ROWS
    database.run(T.grant("ada", {"read": False}))
    with pytest.raises(ReqlError, match="`read` permission"):
        database.run(T.count(), user="ada", cache=True)


def test_errors_are_not_kept(database: RunningDatabase) -> None:
    query = T.get(1)["nope"]
    for _ in range(2):
        with pytest.raises(ReqlError, match="No attribute"):
            hits(database, query)
    database.run(T.get(1).update({"nope": 5}))
    assert hits(database, query) == (5, False)


def test_long_answers_come_in_batches_again(database: RunningDatabase) -> None:
    expected = database.run(T)
    assert hits(database, T, max_batch_rows=100) == (expected, False)
    assert hits(database, T, max_batch_rows=100) == (expected, True)
    database.query.results.max_bytes = 100_000
    database.run(T.get(1).update({"g": 50}))
    try:
        for _ in range(2):
            assert hits(database, T, max_batch_rows=100) == (database.run(T), False)
    finally:
        database.query.results.max_bytes = 64 << 20


def test_transactions_are_none_of_it(database: RunningDatabase) -> None:
    tx = database.run(r.db("rethinkdb").table("transactions").insert({}))["generated_keys"][0]
    database.run(T.get(1).update({"g": 77}), transaction=tx)
    assert hits(database, T.get(1)["g"]) == (1, False)
    assert hits(database, T.get(1)["g"], transaction=tx) == (77, False)
    assert hits(database, T.get(1)["g"]) == (1, True)


def test_explaining_tells(database: RunningDatabase) -> None:
    assert database.run(T.count(), cache=True, explain=True)["cache"]["cached"] is False
    database.run(T.count(), cache=True)
    assert database.run(T.count(), cache=True, explain=True)["cache"]["cached"] is True


# --- the cache by itself


def answer(sequence: int, size: int) -> Answer:
    return Answer(Positions(1, ((sequence,),)), (b"x",), size)


def test_it_is_bounded_and_keeps_what_was_used_last() -> None:
    cache = ResultCache(1000)
    for name in "abcdefgh":
        cache.put(name, answer(1, 125))
    assert cache.get("a", Positions(1, ((1,),))) is not None
    cache.put("i", answer(1, 125))
    assert cache.bytes == 1000
    assert cache.get("b", Positions(1, ((1,),))) is None
    assert cache.get("a", Positions(1, ((2,),))) is None
    cache.put("j", answer(1, 126))
    assert len(cache) == 8
    cache.put("a", answer(2, 1))
    assert cache.bytes == 876


# --- against a writer


@pytest.mark.parametrize("processes", [False, True])
def test_no_reader_ever_gets_what_is_older_than_its_question(tmp_path: Path, processes: bool) -> None:
    """A writer counts up; whoever asks afterwards must see at least what was acknowledged before."""
    with RunningSuite(tmp_path / "data", processes=processes) as suite:
        writer = r.connect("127.0.0.1", suite.driver_port)
        r.table_create("n").run(writer)
        counter = r.table("n")
        counter.insert([{"id": n, "n": 0} for n in range(10)]).run(writer)
        acknowledged = 0
        wrong: list[tuple[int, int]] = []
        answers = 0
        done = threading.Event()

        def read() -> None:
            nonlocal answers
            reader = r.connect("127.0.0.1", suite.driver_port)
            while not done.is_set():
                known = acknowledged
                found = counter.sum("n").run(reader, cache=True)
                answers += 1
                if found < known:
                    wrong.append((known, found))

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for n in range(100):
            counter.get(n % 10).update({"n": r.row["n"] + 1}, durability="soft").run(writer)
            acknowledged += 1
        done.set()
        for reader in readers:
            reader.join()
        assert wrong == []
        assert answers > 0
        assert counter.sum("n").run(writer, cache=True) == 100
        assert counter.sum("n").run(writer, cache=True, explain=True)["cache"]["cached"] is True
        r.table_drop("n").run(writer)
        r.table_create("n").run(writer)
        assert counter.sum("n").run(writer, cache=True) == 0
