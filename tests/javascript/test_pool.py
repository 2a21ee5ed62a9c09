from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from photondb.javascript import ArrayTooLong, Busy, JavaScriptError, Pool, TimedOut, WorkerCrashed


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    made = Pool(2)
    yield made
    made.close()


async def run(
    pool: Pool, source: str, *arguments: Any, call: bool = False, timeout_ms: int = 20_000, array_limit: int = 1000
) -> Any:
    given = json.dumps(arguments) if call else None
    is_function, text = await pool.run("session", source, given, timeout_ms=timeout_ms, array_limit=array_limit)
    return "function" if is_function else json.loads(text)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("1 + 1; 2 + 2", 4),
        ("'é\\n'", "é\n"),
        ("null", None),
        ("({a: [1, true, {b: null}]})", {"a": [1, True, {"b": None}]}),
        ("new Date(1500)", {"$reql_type$": "TIME", "epoch_time": 1.5, "timezone": "+00:00"}),
        ("new Date('2012-08-01').getHours()", 0),
        ("(function () {})", "function"),
        ("class A { constructor() { this.x = 1 } }; new A()", {"x": 1}),
        ("typeof require + typeof process + typeof std + typeof os + typeof fetch", "undefined" * 5),
    ],
)
async def test_scripts_have_values(pool: Pool, source: str, value: Any) -> None:
    assert await run(pool, source) == value


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("function () {}", "SyntaxError: function name expected"),
        ("throw new Error('mine')", "Error: mine"),
        ("throw 5", "5"),
        ("undefined", "Cannot convert javascript `undefined` to ql::datum_t."),
        ("[function () {}]", "Cannot convert function to ql::datum_t."),
        ("/x/", "Cannot convert RegExp to ql::datum_t."),
        ("0 / 0", "Number return value is not finite."),
        ("new Date(NaN)", "Number return value is not finite."),
        ("10n", "Unhandled value type when converting to ql::datum_t."),
        ("var a = []; a[0] = a; a", "Recursion limit exceeded in js_to_json (circular reference?)."),
    ],
)
async def test_what_is_no_value_is_refused(pool: Pool, source: str, message: str) -> None:
    with pytest.raises(JavaScriptError) as caught:
        await run(pool, source)
    assert str(caught.value) == message


async def test_functions_are_called_with_values(pool: Pool) -> None:
    assert await run(pool, "(function (a, b) { return a + b })", 1, 2, call=True) == 3
    assert await run(pool, "(function (a) { return a })", 1, 2, call=True) == 1
    time = {"$reql_type$": "TIME", "epoch_time": 1.5, "timezone": "+00:00"}
    assert await run(pool, "(function (a) { return [a, a.getTime()] })", time, call=True) == [time, 1500]
    for body, message in (
        ("", "Cannot convert javascript `undefined` to ql::datum_t."),
        ("return function () {}", "Returning functions from within `r.js` is unsupported."),
    ):
        with pytest.raises(JavaScriptError) as caught:
            await run(pool, f"(function () {{ {body} }})", call=True)
        assert str(caught.value) == message


async def test_scripts_do_not_see_one_another() -> None:
    pool = Pool(1)
    try:
        await pool.run("one", "var secret = 1; Array.prototype.map = null; 1", None, timeout_ms=20_000, array_limit=9)
        seen = await pool.run("two", "typeof secret + typeof [].map", None, timeout_ms=20_000, array_limit=9)
        assert seen == (False, '"undefinedfunction"')
    finally:
        pool.close()


@pytest.mark.parametrize(
    "source",
    [
        "while (true) {}",
        "while (true) { try { while (true) {} } catch (e) {} }",
        "/(a+)+$/.test('a'.repeat(40) + 'b')",
        "new Array(5e8).join('x')",
        "[1, 2].sort(function () { while (true) {} })",
        "throw {toString() { while (true) {} }}",
        "({get a() { while (true) {} }})",
    ],
)
async def test_no_script_runs_past_its_timeout(pool: Pool, source: str) -> None:
    with pytest.raises(TimedOut):
        await run(pool, source, timeout_ms=200)
    assert await run(pool, "1") == 1


@pytest.mark.parametrize(
    "source",
    [
        "var a = []; while (true) a.push(new Array(1000).fill(1))",
        "'a'.repeat(1 << 29)",
        "var s = 'x'; while (true) s += s",
        "var m = new Map(); for (let i = 0; ; i++) m.set(i, new Float64Array(1000))",
    ],
)
async def test_no_script_takes_more_than_its_memory(pool: Pool, source: str) -> None:
    # Now and then the engine breaks where it could get no memory, which is why it has a process of its own.
    with pytest.raises((JavaScriptError, WorkerCrashed)) as caught:
        await run(pool, source)
    assert re.match(r"(InternalError: )?(out of memory|null|string too long)|RangeError|$", str(caught.value))
    assert await run(pool, "1") == 1


async def test_no_script_breaks_the_stack(pool: Pool) -> None:
    with pytest.raises(JavaScriptError, match="stack overflow"):
        await run(pool, "(function again() { again() })()")
    assert await run(pool, "1") == 1


async def test_long_arrays_are_refused_unseen(pool: Pool) -> None:
    assert len(await run(pool, "new Array(3).fill(0)", array_limit=3)) == 3
    for source in ("new Array(4)", "({a: new Array(4e9)})"):
        with pytest.raises(ArrayTooLong):
            await run(pool, source, array_limit=3)


@pytest.mark.parametrize(
    "tampering",
    [
        "Array.isArray = Object.keys = JSON.stringify = String = function () { return 'x' }",
        "Object.prototype.toJSON = Array.prototype.toJSON = function () { return 'x' }",
        "Date.prototype.getTime = Date.prototype.toJSON = function () { return 'x' }",
        "Reflect.apply = Number.isFinite = Object.getPrototypeOf = function () { return 'x' }",
    ],
)
async def test_a_script_that_changes_the_engine_harms_itself_only(pool: Pool, tampering: str) -> None:
    time = {"$reql_type$": "TIME", "epoch_time": 1, "timezone": "+00:00"}
    assert await run(pool, f"{tampering}; [{{a: 1}}, new Date(1000)]") == [{"a": 1}, time]
    assert await run(pool, "[1].map(String)") == ["1"]


async def test_a_cancelled_script_is_ended() -> None:
    pool = Pool(1)
    try:
        task = asyncio.ensure_future(run(pool, "while (true) {}", timeout_ms=10**9))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await run(pool, "1") == 1
    finally:
        pool.close()


async def test_lasting_calls_leave_room_for_others_and_do_not_wait_for_ever() -> None:
    pool = Pool(2, usual_timeout_ms=20_000, lasting_wait_ms=200)
    try:
        holding = asyncio.ensure_future(run(pool, "while (true) {}", timeout_ms=10**9))
        await asyncio.sleep(0)  # it has a worker now
        with pytest.raises(Busy):
            await run(pool, "1", timeout_ms=10**9)
        for number in range(3):
            assert await run(pool, str(number)) == number
        holding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holding
        pool._lasting_wait_ms = 60_000
        assert await run(pool, "2", timeout_ms=10**9) == 2
    finally:
        pool.close()


async def test_a_script_that_is_cancelled_as_it_begins_is_ended() -> None:
    pool = Pool(1)
    try:
        for turns in range(20):
            task = asyncio.ensure_future(run(pool, "while (true) {}", timeout_ms=10**9))
            await asyncio.sleep(turns / 1000)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await run(pool, "1") == 1
    finally:
        pool.close()


def children() -> set[int]:
    """The processes that this one has started."""
    found = set()
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the thread has ended since
            found.update(map(int, (thread / "children").read_text().split()))
    return found


async def test_a_worker_that_dies_is_replaced() -> None:
    before = children()
    pool = Pool(1)
    try:
        assert await run(pool, "1") == 1
        task = asyncio.ensure_future(run(pool, "while (true) {}"))
        await asyncio.sleep(0.3)
        (worker,) = children() - before
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(WorkerCrashed):
            await task
        assert await run(pool, "1") == 1
    finally:
        pool.close()
