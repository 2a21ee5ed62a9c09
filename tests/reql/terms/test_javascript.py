from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import Any

import pytest
from rethinkdb import r

from photondb.datum.time import make_time
from photondb.javascript import Pool, WorkerCrashed
from photondb.reql.compiler import compile_function
from photondb.reql.errors import ErrorKind
from photondb.reql.terms import javascript
from tests.reql.evaluate import evaluate, failure, wire_term


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (r.js("1 + 1"), 2),
        (r.js("({a: [1, null, 'x']})"), {"a": [1, None, "x"]}),
        (r.js("new Date('2012-08-01')"), make_time(1_343_779_200, "+00:00")),
        (r.do(1, 2, r.js("(function (a, b) { return a + b })")), 3),
        (r.do(r.js("(function () { return arguments.length })")), 0),
        (r.expr([1, 2, 3]).map(r.js("(function (a) { return a * 2 })")), [2, 4, 6]),
        (r.expr([1, 2, 3]).filter(r.js("(function (a) { return a > 1 })")), [2, 3]),
        (r.expr([1, 2, 3]).reduce(r.js("(function (a, b) { return a + b })")), 6),
        (r.range(3).map(r.js("(function (a) { return {a: a} })")), [{"a": 0}, {"a": 1}, {"a": 2}]),
        (r.epoch_time(1.5).do(r.js("(function (t) { return [t, t.getTime()] })")), [make_time(1.5, "+00:00"), 1500]),
        (
            r.expr([{"a": 1}, {"a": 2}]).group(r.js("(function (row) { return row.a > 1 })")).count(),
            [[False, 1], [True, 1]],
        ),
        (r.expr(r.js("2")) + r.js("3"), 5),
    ],
)
def test_scripts_give_values_and_functions(query: Any, value: Any) -> None:
    assert evaluate(query) == value


@pytest.mark.parametrize(
    ("query", "kind", "message"),
    [
        (r.js("throw 'mine'"), ErrorKind.LOGIC, "mine"),
        (r.js("undefined"), ErrorKind.LOGIC, "Cannot convert javascript `undefined` to ql::datum_t."),
        (r.js("({$reql_type$: 'X'})"), ErrorKind.LOGIC, "Unknown $reql_type$ `PTYPE<X>`."),
        (
            r.js("while (true) {}", timeout=0.2),
            ErrorKind.LOGIC,
            "JavaScript query `while (true) {}` timed out after 0.200 seconds.",
        ),
        (
            r.expr(1).do(r.js("(function (x) { while (true) {} })", timeout=0.25)),
            ErrorKind.LOGIC,
            "JavaScript query `(function (x) { while (true) {} })` timed out after 0.250 seconds.",
        ),
        (r.minval.do(r.js("(function (x) { return 1 })")), ErrorKind.LOGIC, "`r.minval` cannot be passed to `r.js`."),
        (
            r.expr({"a": [r.binary(b"x")]}).do(r.js("(function (x) { return 1 })")),
            ErrorKind.LOGIC,
            "`r.binary` data cannot be used in `r.js`.",
        ),
        (r.expr([1]).map(r.js("1")), ErrorKind.LOGIC, "Expected type FUNCTION but found DATUM:\n1"),
        (r.js(r.expr(1)), ErrorKind.LOGIC, "Expected type STRING but found NUMBER."),
    ],
)
def test_what_goes_wrong_in_a_script_is_told(query: Any, kind: ErrorKind, message: str) -> None:
    error = failure(query)
    assert (error.kind, error.message) == (kind, message)


def test_what_waits_for_scripts_that_last_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(1, lasting_wait_ms=100)
    monkeypatch.setattr(javascript, "_pool", lambda: pool)

    async def hold() -> None:
        with contextlib.suppress(WorkerCrashed):
            await pool.run("", "while (true) {}", None, timeout_ms=1_000_000, array_limit=1)

    holding = threading.Thread(target=lambda: asyncio.run(hold()))
    holding.start()
    try:
        while not pool._turns._lasting:
            time.sleep(0.001)
        error = failure(r.js("1", timeout=6))
    finally:
        pool.close()
        holding.join()
    assert error.kind == ErrorKind.RESOURCE_LIMIT
    assert error.message == (
        "Other calls of `r.js` with a timeout of more than 5 seconds have all the workers that there are for them. "
        "Try again later, or with a shorter timeout."
    )


def test_arrays_of_scripts_are_limited() -> None:
    assert evaluate(r.js("[1, 2]"), array_limit=2) == [1, 2]
    assert failure(r.js("({a: [1, 2, 3]})"), array_limit=2).kind == ErrorKind.RESOURCE_LIMIT


def test_scripts_never_run_in_storage() -> None:
    assert not compile_function(wire_term(r.expr([1]).map(lambda row: r.js("1")))[1][1]).pushable
