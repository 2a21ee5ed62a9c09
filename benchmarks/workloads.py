"""The data and the queries of the benchmarks: users with an index on their city.

The figures of RethinkDB 2.4.4 were measured once, for documents and queries of this kind, on an idle machine with two
processors: 50,000 documents of 600 B, 8 connections with 16 queries outstanding on each; queries over the whole table
on 2 connections with one each.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson
from rethinkdb import r
from rethinkdb.ast import ReQLEncoder

from benchmarks.closed_loop import MakeQuery
from benchmarks.raw_connection import RawConnection

DATABASE, TABLE, INDEX = "benchmark", "users", "city"
USERS = r.db(DATABASE).table(TABLE)
CITIES = 500
BATCH_ROWS = 200
PIECE_ROWS = 50_000
"""So many documents are made, and then loaded. More would take much memory."""

LETTERS = "abcdefghijklmnopqrstuvwxyz"

INSERT, MAKE_ARRAY = 56, 2

_encode = ReQLEncoder().encode

# What a template is filled with: a text or a number that no query has otherwise, and the format in its place.
KEY, NEW_KEY, CITY, AGE, SCORE = "<key>", "<new key>", "<city>", 777_001, 777_002.5
FORMATS = {
    '"<key>"': '"user%08d"',
    '"<new key>"': '"new%015x"',
    '"<city>"': '"city%03d"',
    "777001": "%d",
    "777002.5": "%.6f",
}


def document(number: int, size: int = 600, chance: random.Random | None = None) -> dict[str, Any]:
    """A user of about `size` bytes of JSON, at least 90."""
    chance = chance or random.Random(number)
    user: dict[str, Any] = {
        "id": f"user{number:08d}",
        "age": chance.randrange(100),
        "city": f"city{chance.randrange(CITIES):03d}",
        "score": round(chance.random() * 1000, 3),
    }
    room = size - 75
    for field in range(max(room // 56, 0) if size < 5_000 else 10):
        length = 42 if size < 5_000 else room // 10 - 14
        user[f"field{field}"] = "".join(chance.choices(LETTERS, k=length))
    return user


class Reference(NamedTuple):
    """RethinkDB's queries per second, and its CPU time per query in microseconds."""

    queries_per_s: float
    cpu_us: float


class Workload(NamedTuple):
    """A kind of query. `maker(rows)` makes queries for a table of so many rows. `goal` is how many times RethinkDB's
    queries per second, or a fraction of its CPU time, are aimed at."""

    name: str
    maker: Callable[[int], MakeQuery]
    reference: Reference
    goal: float
    whole_table: bool = False
    writes: bool = False

    @property
    def connections(self) -> int:
        return 2 if self.whole_table else 8

    @property
    def window(self) -> int:
        return 1 if self.whole_table else 16


def template(term: Any) -> bytes:
    """A START query whose varying values are formats of `%`."""
    text: str = _encode([1, term, {}])
    text = text.replace("%", "%%")
    for mark, form in FORMATS.items():
        text = text.replace(mark, form)
    return text.encode()


def _wire(term: Any) -> Any:
    return orjson.loads(_encode(term))


def _by_key(term: Any) -> Callable[[int], MakeQuery]:
    query = template(term)

    def maker(rows: int) -> MakeQuery:
        number = random.Random().random
        return lambda: query % int(number() * rows)

    return maker


def _by_number(term: Any, below: int) -> Callable[[int], MakeQuery]:
    query = template(term)

    def maker(rows: int) -> MakeQuery:
        number = random.Random().random
        return lambda: query % int(number() * below)

    return maker


def _fixed(term: Any) -> Callable[[int], MakeQuery]:
    query = _encode([1, term, {}]).encode()
    return lambda rows: lambda: query


def _update(rows: int) -> MakeQuery:
    query = template(USERS.get(KEY).update({"score": SCORE}))
    number = random.Random().random
    return lambda: query % (int(number() * rows), number() * 1000)


def _half_and_half(rows: int) -> MakeQuery:
    read, write = _GET(rows), _update(rows)
    number = random.Random().random
    return lambda: read() if number() < 0.5 else write()


def _insert(rows: int) -> MakeQuery:
    chance = random.Random()
    queries = [template(USERS.insert(document(number, chance=chance) | {"id": NEW_KEY})) for number in range(64)]
    number = chance.random
    return lambda: queries[int(number() * 64)] % chance.getrandbits(60)


_GET = _by_key(USERS.get(KEY))

WORKLOADS = (
    Workload("get by primary key", _GET, Reference(42_900, 40), 2),
    Workload("get and pluck", _by_key(USERS.get(KEY).pluck("age", "city")), Reference(40_000, 43), 2),
    Workload("r.expr arithmetic", _by_number(r.expr(AGE) + 1, 1000), Reference(107_000, 14.5), 1.2),
    Workload("between, limit 50", _by_key(USERS.between(KEY, r.maxval).limit(50)), Reference(3_270, 580), 3),
    Workload(
        "get_all by index, 50 rows",
        _by_number(USERS.get_all(CITY, index=INDEX).limit(50), CITIES),
        Reference(2_850, 665),
        3,
    ),
    Workload(
        "filter and count", _by_number(USERS.filter(r.row["age"] == AGE).count(), 100), Reference(6, 294_000), 6, True
    ),
    Workload("group and average", _fixed(USERS.group("age").avg("score")), Reference(4, 435_000), 6, True),
    Workload("map and sum", _fixed(USERS.map(r.row["age"] + r.row["score"]).sum()), Reference(4, 500_000), 6, True),
    Workload(
        "order by a field, limit 10", _fixed(USERS.order_by("score").limit(10)), Reference(1, 2_300_000), 20, True
    ),
    Workload("update one field, hard", _update, Reference(2_600, 680), 8, writes=True),
    Workload("half get, half update", _half_and_half, Reference(4_700, 390), 6, writes=True),
    Workload("insert, hard", _insert, Reference(2_900, 620), 8, writes=True),
)
"""Those that make the table grow or change come last."""

BY_NAME = {workload.name: workload for workload in WORKLOADS}

ONE_AT_A_TIME_MS = {
    "get by primary key": 0.10,
    "r.expr arithmetic": 0.06,
    "between, limit 50": 0.53,
    "get_all by index, 50 rows": 0.49,
    "update one field, hard": 0.91,
    "insert, hard": 0.88,
}
"""How long a query of RethinkDB's takes (the median, in milliseconds) when it is the only one."""

BULK_LOAD = Reference(18_000, 0)
"""Documents per second in batches of 200 with soft durability, the best that was seen of RethinkDB."""


def fill(port: int, rows: int, size: int = 600) -> float:
    """Make the table anew with so many documents of so many bytes. Returns the documents per second that were loaded,
    without the time in which this process made them."""
    with RawConnection(port) as connection:
        if DATABASE in connection.ask([1, [59, []]])["r"][0]:
            connection.ask([1, [58, [DATABASE]]])
        for term in (
            r.db_create(DATABASE),
            r.db(DATABASE).table_create(TABLE),
            USERS.index_create(INDEX),
            USERS.index_wait(INDEX),
        ):
            connection.ask([1, _wire(term), {}])
        chance = random.Random(1)
        users = _wire(USERS)
        seconds = 0.0
        for first in range(0, rows, PIECE_ROWS):
            documents = [document(number, size, chance) for number in range(first, min(first + PIECE_ROWS, rows))]
            start = time.perf_counter()
            for position in range(0, len(documents), BATCH_ROWS):
                batch = documents[position : position + BATCH_ROWS]
                connection.send([1, [INSERT, [users, [MAKE_ARRAY, batch]]], {"durability": "soft", "noreply": True}])
            connection.wait()
            seconds += time.perf_counter() - start
        (count,) = connection.ask([1, _wire(USERS.count()), {}])["r"]
        if count != rows:
            raise RuntimeError(f"{rows} documents were loaded, and the table counts {count}")
    return rows / seconds
