"""The mistakes that newcomers make: each is told in RethinkDB's words, as its kind of error, and what is wrong in the
query is underlined."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from rethinkdb import errors, r

from tests.running_suite import RunningSuite

T = r.table("films")


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    with RunningSuite(tmp_path_factory.mktemp("mistakes") / "data", processes=False) as running:
        with r.connect(port=running.driver_port) as conn:
            r.table_create("films").run(conn)
            T.insert([{"id": 1, "title": "M", "year": 1931}, {"id": 2, "title": "Metropolis"}]).run(conn)
            T.index_create("year").run(conn)
            T.index_wait().run(conn)
        yield running


@pytest.fixture
def conn(suite: RunningSuite) -> Iterator[Any]:
    with r.connect(port=suite.driver_port) as connection:
        yield connection


def underlined(error: errors.ReqlError) -> str:
    """The part of the query with carets below it."""
    query, carets = str(error).splitlines()[-2:]
    return query[carets.index("^") : carets.rindex("^") + 1]


MISTAKES: dict[str, tuple[Any, type[errors.ReqlError], str, str]] = {
    "a table that is not there": (
        r.table("flims").count(),
        errors.ReqlOpFailedError,
        "Table `test.flims` does not exist",
        "r.table('flims')",
    ),
    "a database that is not there": (
        r.db("prod").table("films"),
        errors.ReqlOpFailedError,
        "Database `prod` does not exist",
        "r.db('prod')",
    ),
    "an index that is not there": (
        T.get_all("M", index="title").count(),
        errors.ReqlOpFailedError,
        "Index `title` was not found on table `test.films`",
        "r.table('films').get_all('M', index='title')",
    ),
    "an index that is there already": (
        T.index_create("year"),
        errors.ReqlOpFailedError,
        "Index `year` already exists on table `test.films`",
        "r.table('films').index_create('year')",
    ),
    "a table that is there already": (
        r.table_create("films"),
        errors.ReqlOpFailedError,
        "Table `test.films` already exists",
        "r.table_create('films')",
    ),
    "a field that is not there": (
        T.get(2)["year"],
        errors.ReqlNonExistenceError,
        "No attribute `year` in object",
        "r.table('films').get(2)['year']",
    ),
    "a field of a document that is not there": (
        T.get(3)["year"].default(0).add(T.get(3).pluck("year")),
        errors.ReqlNonExistenceError,
        "Cannot perform pluck on a non-object non-sequence `null`",
        "r.table('films').get(3)",
    ),
    "a value of another type": (
        T.map(r.row["title"] + 1).sum(),
        errors.ReqlQueryLogicError,
        "Expected type STRING but found NUMBER",
        "(r.row['title'] + r.expr(1))",
    ),
    "r.row in a function within a function": (
        T.filter(lambda film: T.filter(r.row["year"] == film["year"]).count() > 0),
        errors.ReqlServerCompileError,
        "Cannot use r.row in nested queries.  Use functions instead",
        "r.row",
    ),
    "a writing that nobody can repeat": (
        T.update({"lot": r.random()}),
        errors.ReqlQueryLogicError,
        "Could not prove argument deterministic.  Maybe you want to use the non_atomic flag?",
        "r.table('films').update(r.expr({'lot': r.random()}))",
    ),
    "a writing that looks at another document": (
        T.get(1).update({"year": T.get(2)["id"]}),
        errors.ReqlQueryLogicError,
        "Could not prove argument deterministic.  Maybe you want to use the non_atomic flag?",
        "r.table('films').get(1).update(r.expr({'year': r.table('films').get(2)['id']}))",
    ),
    "too many elements for an array": (
        r.range(100_001).map(lambda number: {"n": number}).order_by("n").count(),
        errors.ReqlResourceLimitError,
        "Array over size limit `100000`.  To raise the number of allowed elements, modify the `array_limit` option",
        ".order_by('n')",
    ),
    "a feed of a sorted array": (
        T.order_by("title").changes(),
        errors.ReqlQueryLogicError,
        "Cannot call `changes` on an eager stream",
        "r.table('films').order_by('title').changes()",
    ),
    "an order by an index too late": (
        T.filter({"year": 1931}).order_by(index="year"),
        errors.ReqlQueryLogicError,
        "Indexed order_by can only be performed on a TABLE or TABLE_SLICE. Make sure order_by comes before",
        ".order_by(index='year')",
    ),
    "an option that is misspelt": (
        T.insert({}, durabilty="soft"),
        errors.ReqlServerCompileError,
        "Unrecognized optional argument `durabilty`",
        "",
    ),
    "a deletion of what is no selection": (
        T.map(r.row["id"]).delete(),
        errors.ReqlQueryLogicError,
        "Expected type SELECTION but found",
        "r.table('films').map(",
    ),
    "no documents to insert": (
        T.insert("M"),
        errors.ReqlQueryLogicError,
        "Cannot convert STRING to SEQUENCE",
        "r.table('films').insert('M')",
    ),
    "a time without a zone": (
        r.iso8601("2014-01-01T00:00:00"),
        errors.ReqlQueryLogicError,
        "ISO 8601 string has no time zone, and no default time zone was provided",
        "r.iso8601('2014-01-01T00:00:00')",
    ),
    "an average of nothing": (
        T.filter({"year": 0}).avg("year"),
        errors.ReqlNonExistenceError,
        "Cannot take the average of an empty stream.  (If you passed `avg` a field name",
        ".avg('year')",
    ),
    "an element that is not there": (
        T.nth(10),
        errors.ReqlNonExistenceError,
        "Index out of bounds: 10",
        "r.table('films').nth(10)",
    ),
    "more copies than servers": (
        r.table_create("copies", replicas=2),
        errors.ReqlOpFailedError,
        "Can't put 2 replicas on servers with the tag `default` because there are only 1 servers",
        "r.table_create('copies', replicas=2)",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_explained_where_it_is(conn: Any, mistake: str) -> None:
    query, kind, message, part = MISTAKES[mistake]
    with pytest.raises(errors.ReqlError) as raised:
        list(query.run(conn))
    assert type(raised.value) is kind
    assert raised.value.message.startswith(message)
    assert part in underlined(raised.value)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (T.insert({"id": 1}), "Duplicate primary key `id`:\n{"),
        (T.get(1).update({"id": 7}), "Primary key `id` cannot be changed"),
        (T.get(1).replace({"title": "M"}), "Inserted object must have primary key `id`"),
    ],
)
def test_what_goes_wrong_with_a_document_is_told_in_the_answer(conn: Any, write: Any, message: str) -> None:
    answer = write.run(conn)
    assert answer["errors"] == 1
    assert answer["first_error"].startswith(message)


def test_who_is_not_let_in_is_told_why(suite: RunningSuite) -> None:
    with pytest.raises(errors.ReqlAuthError, match="Wrong password"):
        r.connect(port=suite.driver_port, password="no")
    with pytest.raises(errors.ReqlAuthError, match="Wrong password"):
        r.connect(port=suite.driver_port, user="nobody")
    with pytest.raises(errors.ReqlDriverError, match=r"(?i)port"):
        r.connect(port=suite.http_port)
