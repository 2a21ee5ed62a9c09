"""Queries that ask for too much: each ends with a clear error, and others do not feel it.

While each of them is dealt with, another client keeps asking, and must keep being answered.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rethinkdb import r
from rethinkdb.ast import ReQLEncoder

from tests.running_suite import RunningSuite

MAX_SECONDS = 1
PATIENT_SECONDS = 600
TRIES = 10
"""In the second of a query others must be answered; where the machine has a lot to do, that may be the next time."""

MAX_BYTES = 400_000_000
V0_4 = 0x400C2D20
JSON = 0x7E6970C7

CLIENT_ERROR, COMPILE_ERROR, RUNTIME_ERROR = 16, 17, 18
RESOURCE_LIMIT, LOGIC = 2000000, 3000000

TIME = rf"The query took longer than its time limit of {MAX_SECONDS:g} seconds\."
MEMORY = r"The query takes more memory than it may \(limit \d+ MB\)\."
SIZE = r"Value over size limit \(about 256 MB of JSON\)\."
DEPTH = r"Value is nested too deeply \(the limit is 250 levels\)\."
STRING = r"String over size limit `67108864`\."
ARRAY = r"Array over size limit `100000`\..*"
INFINITE = r"Cannot use an infinite stream with an aggregation function .*"


@pytest.fixture(scope="module", params=[False, True], ids=["one process", "processes"])
def suite(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    """A suite that gives each query 400 MB, and all the time that it needs on a machine which has others to do."""
    with limited(tmp_path_factory.mktemp("hostile") / "data", request.param, PATIENT_SECONDS) as running:
        make_table(running)
        yield running


@pytest.fixture(scope="module", params=[False, True], ids=["one process", "processes"])
def impatient(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    """A suite that gives each query a second, but not those that make the table."""
    data_dir = tmp_path_factory.mktemp("hostile") / "data"
    with limited(data_dir, request.param, PATIENT_SECONDS) as running:
        make_table(running)
    with limited(data_dir, request.param, MAX_SECONDS) as running:
        yield running


def limited(data_dir: Path, processes: bool, seconds: int) -> RunningSuite:
    limits = {"PHOTONDB_MAX_QUERY_SECONDS": str(seconds), "PHOTONDB_MAX_QUERY_BYTES": str(MAX_BYTES)}
    return RunningSuite(data_dir, processes=processes, environ=limits)


def make_table(suite: RunningSuite) -> None:
    with r.connect(port=suite.driver_port) as connection:
        r.table_create("t").run(connection)
        rows = [{"id": number, "n": number % 10, "tags": list(range(100))} for number in range(1000)]
        r.table("t").insert(rows).run(connection)
        r.table("t").index_create("n").run(connection)
        r.table("t").index_wait().run(connection)


class Bystander:
    """A client that asks ordinary questions all the time. It must get the right answers."""

    def __init__(self, port: int) -> None:
        self.answers = 0
        self.error: BaseException | None = None
        self._port = port
        self._done = threading.Event()
        self._answered = threading.Condition()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Bystander:
        self._thread.start()
        self.wait_for(self.answers + 1)
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def wait_for(self, answers: int) -> None:
        """Wait until there have been so many answers."""
        with self._answered:
            self._answered.wait_for(lambda: self.answers >= answers or self.error is not None)
        assert self.error is None

    def _ask(self) -> None:
        try:
            with r.connect(port=self._port) as connection:
                while not self._done.is_set():
                    assert r.table("t").get(7)["n"].run(connection) == 7
                    assert r.table("t").get_all(3, index="n").count().run(connection) == 100
                    written = r.table("t").get(8).update({"seen": self.answers}).run(connection)
                    assert written["errors"] == 0
                    with self._answered:
                        self.answers += 1
                        self._answered.notify()
        except BaseException as error:
            with self._answered:
                self.error = error
                self._answered.notify()


@contextlib.contextmanager
def bystander(suite: RunningSuite) -> Iterator[Bystander]:
    """A client that is answered before, and after, what is done meanwhile."""
    with Bystander(suite.driver_port) as asking:
        yield asking
        asking.wait_for(asking.answers + 1)


def ask(suite: RunningSuite, query: Any) -> dict[str, Any]:
    """The response to a query, given as a driver term or as the bytes of a frame."""
    payload = query if isinstance(query, bytes) else ReQLEncoder().encode([1, query, {}]).encode()
    with socket.create_connection(("127.0.0.1", suite.driver_port)) as connection:
        stream = connection.makefile("rwb")
        stream.write(struct.pack("<III", V0_4, 0, JSON))
        stream.flush()
        assert stream.read(8) == b"SUCCESS\0"
        stream.write(struct.pack("<QI", 1, len(payload)) + payload)
        stream.flush()
        _, length = struct.unpack("<QI", stream.read(12))
        response: dict[str, Any] = json.loads(stream.read(length))
        return response


def function_of_many(body: Any) -> list[Any]:
    """A function of 1,000 parameters."""
    return [69, [[2, list(range(1, 1001))], body]]


def nested(depth: int, make: Callable[[Any], Any], inner: Any) -> Any:
    for _ in range(depth):
        inner = make(inner)
    return inner


def frame(term: Any) -> bytes:
    return json.dumps([1, term, {}]).encode()


TABLE = r.table("t")
SLOW = r.expr([1] * 1000).map(lambda a: r.expr([1] * 1000).map(lambda b: r.expr([1] * 1000).map(lambda c: a + b + c)))
LONG = r.expr("x" * 1_000_000)
BIG = r.range(60).fold(LONG, lambda text, _: text + LONG)
"""A string of 61 MB."""

HOSTILE: dict[str, tuple[Any, int, int | None, str]] = {
    # --- nesting
    "100,000 nested arrays": (
        b"[1," + b"[2,[" * 100_000 + b"]]" * 100_000 + b"]",
        *(CLIENT_ERROR, None, r"The query is nested too deeply\."),
    ),
    "450 nested sums": (
        frame(nested(450, lambda inner: [24, [inner, 1]], 1)),
        *(COMPILE_ERROR, None, r"Terms may not nest deeper than 400 levels\."),
    ),
    "arrays nested by a fold": (
        r.range(10_000).fold([], lambda inner, _: [inner]),
        *(RUNTIME_ERROR, RESOURCE_LIMIT, DEPTH),
    ),
    "objects nested by a fold and compared": (
        r.range(10_000)
        .fold({}, lambda inner, _: {"a": inner})
        .eq(r.range(9999).fold({}, lambda inner, _: {"a": inner})),
        *(RUNTIME_ERROR, RESOURCE_LIMIT, DEPTH),
    ),
    # --- size
    "a function of 1,000 arguments": (
        frame([38, [[2, [1, 2]], function_of_many([24, [[10, [number]] for number in range(1, 1001)]])]]),
        *(RUNTIME_ERROR, LOGIC, r"The function passed to `map` expects 1000 arguments, but 1 sequence was found\."),
    ),
    "300,000 terms": (
        b"[1,[2,[" + b",".join([b"[24,[1,1]]"] * 300_000) + b"]]]",
        *(COMPILE_ERROR, None, r"A query may not have more than 250,000 terms\."),
    ),
    "a string of 60 MB, twice": (
        b'[1,[64,[[69,[[2,[1]],[24,[[10,[1]],[10,[1]]]]]],"' + b"x" * 60_000_000 + b'"]]]',
        *(RUNTIME_ERROR, RESOURCE_LIMIT, STRING),
    ),
    "a string of 61 MB, ten times": (BIG.do(lambda text: [text] * 10), RUNTIME_ERROR, RESOURCE_LIMIT, SIZE),
    "strings doubled by a fold": (
        r.range(100).fold("x", lambda text, _: text + text),
        *(RUNTIME_ERROR, RESOURCE_LIMIT, STRING),
    ),
    "strings doubled by reduce": (
        r.range(2**30).map(lambda _: "x" * 1000).reduce(lambda left, right: left + left),
        *(RUNTIME_ERROR, RESOURCE_LIMIT, STRING),
    ),
    "arrays doubled by a fold": (
        r.range(100).fold([1], lambda array, _: array + array),
        *(RUNTIME_ERROR, RESOURCE_LIMIT, ARRAY),
    ),
    "arrays of the same arrays": (
        r.range(60).fold(1, lambda inner, _: [inner, inner]),
        *(RUNTIME_ERROR, RESOURCE_LIMIT, SIZE),
    ),
    "arrays of the same arrays, sorted": (
        r.range(60).fold(1, lambda inner, _: [inner, inner]).do(lambda tree: r.expr([tree, tree]).distinct()),
        *(RUNTIME_ERROR, RESOURCE_LIMIT, SIZE),
    ),
    "arrays of the same arrays, as text": (
        r.range(60).fold(1, lambda inner, _: [inner, inner]).coerce_to("string"),
        *(RUNTIME_ERROR, RESOURCE_LIMIT, SIZE),
    ),
    "objects of the same objects, merged": (
        r.range(60).fold({}, lambda inner, _: {"a": inner, "b": inner}).do(lambda tree: tree.merge(tree)),
        *(RUNTIME_ERROR, RESOURCE_LIMIT, SIZE),
    ),
    "the same row very often": (
        r.range(60_000).map(lambda _: LONG).coerce_to("array"),
        *(RUNTIME_ERROR, RESOURCE_LIMIT, SIZE),
    ),
    "many long strings": (
        r.range(60_000).map(lambda number: LONG + number.coerce_to("string")).coerce_to("array"),
        *(RUNTIME_ERROR, RESOURCE_LIMIT, MEMORY),
    ),
    "an object without end": (
        r.range(10**12).map(lambda number: [number.coerce_to("string") + "x" * 5000, number]).coerce_to("object"),
        *(RUNTIME_ERROR, RESOURCE_LIMIT, MEMORY),
    ),
    "a template that is filled in very often": (
        frame([197, ["{a}" * 1000, {"a": "x" * 1_000_000}]]),
        *(RUNTIME_ERROR, RESOURCE_LIMIT, STRING),
    ),
    "a string in too many parts": (BIG.split("x").count(), RUNTIME_ERROR, RESOURCE_LIMIT, ARRAY),
    "too many groups": (
        r.range(10**9).group(lambda number: number).count(),
        *(RUNTIME_ERROR, RESOURCE_LIMIT, r"Too many groups \(> 100000\)\."),
    ),
    "too many rows in groups": (
        r.range(10**9).group(lambda number: number % 10),
        *(RUNTIME_ERROR, RESOURCE_LIMIT, r"Grouped data over size limit `100000`\..*"),
    ),
    "a circle of a thousand million corners": (
        r.circle([0, 0], 1000, num_vertices=10**9),
        *(RUNTIME_ERROR, RESOURCE_LIMIT, ARRAY),
    ),
    "a large product of arrays": (
        r.range(3000).coerce_to("array").do(lambda rows: rows.inner_join(rows, lambda left, right: True)),
        *(RUNTIME_ERROR, RESOURCE_LIMIT, ARRAY),
    ),
    # --- regular expressions
    "a regular expression that is too large": (
        r.expr("x").match("((x{100}){100}){100}"),
        *(RUNTIME_ERROR, LOGIC, r"Error in regexp .*"),
    ),
    # --- streams without end
    "an endless range, reduced": (
        r.range().reduce(lambda left, right: left + right),
        *(RUNTIME_ERROR, LOGIC, INFINITE),
    ),
    "an endless range as an array": (r.range().coerce_to("array"), RUNTIME_ERROR, LOGIC, INFINITE),
    "an endless range, sorted": (r.range().order_by(lambda number: number), RUNTIME_ERROR, LOGIC, INFINITE),
    "an endless range, filtered": (r.range().filter(lambda _: False), RUNTIME_ERROR, RESOURCE_LIMIT, TIME),
    "a range as good as endless": (r.range(10**15).sum(), RUNTIME_ERROR, RESOURCE_LIMIT, TIME),
    "rows without end from each row": (
        TABLE.concat_map(lambda row: r.range(10**15)).count(),
        *(RUNTIME_ERROR, RESOURCE_LIMIT, TIME),
    ),
    # --- time
    "loops within loops": (SLOW, RUNTIME_ERROR, RESOURCE_LIMIT, TIME),
    "short loops within loops": (
        nested(
            8, lambda inner: r.expr([1] * 100).map(lambda _: inner).count(), r.random()
        ),  # else each is computed once
        *(RUNTIME_ERROR, RESOURCE_LIMIT, TIME),
    ),
    "loops in a filter next to the data": (
        TABLE.filter(lambda row: row["tags"].map(lambda a: row["tags"].map(lambda b: row["tags"].sum())).is_empty()),
        *(RUNTIME_ERROR, RESOURCE_LIMIT, TIME),
    ),
    "loops in an aggregate next to the data": (
        TABLE.sum(lambda row: row["tags"].map(lambda a: row["tags"].map(lambda b: row["tags"].sum())).count()),
        *(RUNTIME_ERROR, RESOURCE_LIMIT, TIME),
    ),
    "a document in the place of a key": (TABLE.get(1).merge({"a": SLOW}), RUNTIME_ERROR, RESOURCE_LIMIT, TIME),
    "all pairs of rows": (
        TABLE.inner_join(TABLE, lambda left, right: TABLE.count() == left["id"] + right["id"]).count(),
        *(RUNTIME_ERROR, RESOURCE_LIMIT, TIME),
    ),
    "a loop of writes": (
        r.range(10**15).for_each(lambda number: TABLE.get(9).update({"written": number})),
        *(RUNTIME_ERROR, RESOURCE_LIMIT, TIME),
    ),
    "JavaScript that does not end": (
        r.js("while (true) {}", timeout=0.3),
        *(RUNTIME_ERROR, LOGIC, r"JavaScript query `while \(true\) \{\}` timed out after 0\.300 seconds\."),
    ),
    "JavaScript that has all the time": (r.js("while (true) {}", timeout=1e9), RUNTIME_ERROR, RESOURCE_LIMIT, TIME),
    "a function in JavaScript that does not end": (
        r.expr([1, 2]).map(r.js("(function (x) { while (true) {} })", timeout=0.3)),
        *(RUNTIME_ERROR, LOGIC, r".* timed out after 0\.300 seconds\."),
    ),
    "JavaScript that takes all memory": (
        r.js("var a = []; while (true) { a.push(new Array(100000).fill(a.length)); }", timeout=60),
        *(RUNTIME_ERROR, LOGIC, r".*memory.*"),
    ),
}


def check(suite: RunningSuite, name: str) -> None:
    """A hostile query gets its error."""
    query, kind, category, message = HOSTILE[name]
    response = ask(suite, query)
    assert response["t"] == kind, response
    assert response.get("e") == category, response
    assert re.fullmatch(message, response["r"][0], re.DOTALL), response["r"]


@pytest.mark.parametrize("name", [name for name in HOSTILE if HOSTILE[name][3] != TIME])
def test_a_query_that_asks_for_too_much_is_refused(suite: RunningSuite, name: str) -> None:
    with bystander(suite):
        check(suite, name)


@pytest.mark.parametrize("name", [name for name in HOSTILE if HOSTILE[name][3] == TIME])
def test_a_query_that_takes_too_long_is_ended(impatient: RunningSuite, name: str) -> None:
    with bystander(impatient) as other:
        for _ in range(TRIES):
            before = other.answers
            check(impatient, name)
            if other.answers > before:  # in the second that the query was worked on
                break
        else:
            pytest.fail("nobody else was answered while the query was worked on")


HARMLESS: dict[str, tuple[Any, Any]] = {
    "61 MB": (BIG.count(), 61_000_000),
    "backtracking": (r.expr("a" * 50_000 + "b").match("^(a+)+$"), None),
    "more backtracking": (r.expr("a" * 50_000).match("(a?){100}a{100}")["end"], 200),
    "a long search": (BIG.match("y"), None),
    "10,000 numbers": (r.add(*[1] * 10_000), 10_000),
    "1,000 arguments": (
        frame([64, [function_of_many([24, [[10, [number]] for number in range(1, 1001)]]), *range(1000)]]),
        499_500,
    ),
    "some of no end": (r.range().limit(3).sum(), 3),
    "some of many without end": (
        r.range().concat_map(lambda number: r.range(10**15)).limit(4).coerce_to("array"),
        [0, 1, 2, 3],
    ),
    "150 merges": (nested(150, lambda inner: r.expr({}).merge({"a": inner}), 1).keys(), ["a"]),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_only_looks_hostile_is_answered(suite: RunningSuite, name: str) -> None:
    query, result = HARMLESS[name]
    with bystander(suite):
        response = ask(suite, query)
    assert response["r"] == [result], response


def busy(row: Any, levels: int) -> Any:
    """A number that takes a while: 100 times as long with each level."""
    if levels == 1:
        return row["tags"].sum()
    return row["tags"].map(lambda _: busy(row, levels - 1)).sum()


def test_a_write_that_takes_too_long_fails_for_its_document(suite: RunningSuite) -> None:
    with bystander(suite):
        assert ask(suite, TABLE.get(5).update(lambda row: {"a": busy(row, 2)}))["r"][0]["replaced"] == 1
        result = ask(suite, TABLE.get_all(5, 6).update(lambda row: {"a": busy(row, 5)}))["r"][0]
    assert result["errors"] == 2
    assert result["first_error"].startswith("The function goes through more than 2,000,000 array elements")


def test_an_index_that_takes_too_long_leaves_documents_out(suite: RunningSuite) -> None:
    with bystander(suite), r.connect(port=suite.driver_port) as connection:
        r.table_create("few").run(connection)
        few = r.table("few")
        few.insert([{"id": 1, "tags": [1] * 100}, {"id": 2, "tags": [1]}]).run(connection)
        few.index_create("slow", lambda row: busy(row, 5)).run(connection)
        few.index_wait().run(connection)
        assert list(few.order_by(index="slow")["id"].run(connection)) == [2]
        assert few.insert({"id": 3, "tags": [1] * 100}).run(connection)["inserted"] == 1
        assert few.get_all(1, index="slow").count().run(connection) == 1


def test_a_feed_that_takes_too_long_leaves_documents_out(suite: RunningSuite) -> None:
    with bystander(suite), r.connect(port=suite.driver_port) as connection:
        r.table_create("watched").run(connection)
        watched = r.table("watched")
        with r.connect(port=suite.driver_port) as other:
            feed = watched.map(lambda row: {"id": row["id"], "a": busy(row, 5)}).changes().run(other)
            for number, tags in enumerate(([1] * 100, [1], [1] * 100, [2])):
                assert watched.insert({"id": number, "tags": tags}).run(connection)["inserted"] == 1
            assert [feed.next()["new_val"]["id"] for _ in range(2)] == [1, 3]


def test_scripts_that_never_end_leave_workers_to_others(suite: RunningSuite) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(6):
            connection = r.connect(port=suite.driver_port)
            stack.callback(connection.close, noreply_wait=False)
            r.js("while (true) {}", timeout=1_000_000).run(connection, noreply=True)
        with r.connect(port=suite.driver_port) as connection:
            assert [r.js(f"{number}", timeout=5).run(connection) for number in range(8)] == list(range(8))


def test_the_suites_have_come_through_it_without_a_fault(suite: RunningSuite, impatient: RunningSuite) -> None:
    for log in (suite.log, impatient.log):
        assert "Traceback" not in log
        assert "a query failed" not in log
