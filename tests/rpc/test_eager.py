"""A coroutine that need not wait costs no task; one that must goes on as a task."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest

from photondb.rpc.eager import begin, start_eagerly, task_factory, together

MARK: ContextVar[str] = ContextVar("mark", default="unset")


async def test_a_coroutine_that_does_not_wait_is_finished_at_once() -> None:
    async def answer() -> int:
        return 42

    started = start_eagerly(answer())
    assert started.task is None
    assert started.value == 42


async def test_a_coroutine_that_waits_goes_on_as_a_task() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    steps: list[str] = []

    async def answer() -> int:
        steps.append("before")
        value = await future
        steps.append("after")
        await asyncio.sleep(0)
        return value + 1

    started = start_eagerly(answer())
    assert steps == ["before"]
    assert started.task is not None
    future.set_result(41)
    assert await started.task == 42
    assert started.value == 42
    assert steps == ["before", "after"]


async def test_a_future_that_is_done_before_the_task_runs_is_not_missed() -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def answer() -> str:
        return await future

    started = start_eagerly(answer())
    future.set_result("early")
    assert started.task is not None
    assert await started.task == "early"


async def test_a_bare_yield_goes_on_as_a_task() -> None:
    async def answer() -> str:
        await asyncio.sleep(0)
        return "done"

    started = start_eagerly(answer())
    assert started.task is not None
    assert await started.task == "done"


async def test_an_early_exception_is_raised_by_the_start() -> None:
    async def fail() -> None:
        raise LookupError("early")

    with pytest.raises(LookupError, match="early"):
        start_eagerly(fail())


async def test_a_late_exception_is_the_tasks() -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise LookupError("late")

    started = start_eagerly(fail())
    assert started.task is not None
    with pytest.raises(LookupError, match="late"):
        await started.task
    with pytest.raises(LookupError, match="late"):
        _ = started.value


async def test_an_exception_of_what_it_waits_for_reaches_the_coroutine() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def recover() -> str:
        try:
            await future
        except LookupError as error:
            return f"caught {error}"
        return "nothing"

    started = start_eagerly(recover())
    future.set_exception(LookupError("it"))
    assert started.task is not None
    assert await started.task == "caught it"


@pytest.mark.parametrize("steps_before_cancelling", [0, 1, 3])
async def test_cancelling_the_task_cancels_the_coroutine_where_it_waits(steps_before_cancelling: int) -> None:
    seen: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        finally:
            seen.append("cleaned up")

    started = start_eagerly(wait())
    assert started.task is not None
    for _ in range(steps_before_cancelling):
        await asyncio.sleep(0)
    started.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await started.task
    assert seen == ["cancelled", "cleaned up"]


async def test_a_coroutine_may_refuse_to_be_cancelled() -> None:
    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return "went on"

    started = start_eagerly(stubborn())
    assert started.task is not None
    started.task.cancel()
    assert await started.task == "went on"


async def test_there_is_no_current_task_in_the_eager_part() -> None:
    tasks: list[asyncio.Task[Any] | None] = []

    async def look() -> None:
        tasks.append(asyncio.current_task())
        await asyncio.sleep(0)
        tasks.append(asyncio.current_task())

    caller = asyncio.current_task()
    started = start_eagerly(look())
    assert asyncio.current_task() is caller
    assert started.task is not None
    await started.task
    assert tasks == [None, started.task]


async def test_the_caller_stays_the_current_task_after_an_early_exception() -> None:
    async def fail() -> None:
        raise LookupError

    caller = asyncio.current_task()
    with pytest.raises(LookupError):
        start_eagerly(fail())
    assert asyncio.current_task() is caller


async def test_context_variables_stay_with_the_coroutine() -> None:
    async def mark() -> str:
        inherited = MARK.get()
        MARK.set("coroutine")
        await asyncio.sleep(0)
        return f"{inherited}, {MARK.get()}"

    MARK.set("caller")
    started = start_eagerly(mark())
    assert MARK.get() == "caller"
    assert started.task is not None
    assert await started.task == "caller, coroutine"


async def test_it_works_in_a_callback_of_the_loop() -> None:
    done: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def answer() -> str:
        return "from a callback"

    asyncio.get_running_loop().call_soon(lambda: done.set_result(start_eagerly(answer()).value))
    assert await done == "from a callback"


async def test_a_rest_that_is_never_carried_on_is_closed() -> None:
    closed: list[bool] = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    started = start_eagerly(wait())
    assert started.task is not None
    coroutine = started.task.get_coro()
    assert coroutine is not None
    coroutine.close()
    assert closed == [True]
    started.task.cancel()
    with pytest.raises((asyncio.CancelledError, RuntimeError)):
        await started.task


@pytest.mark.parametrize("factory", [task_factory, None])
async def test_what_was_begun_needs_no_task_if_nothing_is_left(factory: Any) -> None:
    ended: list[str] = []

    async def handle() -> None:
        ended.append("handled")

    asyncio.get_running_loop().set_task_factory(factory)
    task: Any = None

    def arrive() -> None:  # not within a task
        nonlocal task
        task = asyncio.create_task(begin(handle()))
        task.add_done_callback(lambda done: ended.append("told"))
        if factory is not None:
            assert ended == ["handled", "told"]

    asyncio.get_running_loop().call_soon(arrive)
    await asyncio.sleep(0)
    assert await task is None
    await asyncio.sleep(0)
    assert ended == ["handled", "told"]
    assert (task.cancelled(), task.exception(), task.result(), task.cancel()) == (False, None, None, False)


async def test_what_was_begun_goes_on_in_its_own_context() -> None:
    seen: list[str] = []
    answered = asyncio.get_running_loop().create_future()

    async def handle() -> None:
        MARK.set("handler's")
        await answered
        seen.append(MARK.get())

    asyncio.get_running_loop().set_task_factory(task_factory)
    tasks: list[asyncio.Task[None]] = []
    asyncio.get_running_loop().call_soon(lambda: tasks.append(asyncio.create_task(begin(handle()))))
    await asyncio.sleep(0)
    answered.set_result(None)
    await tasks[0]
    assert seen == ["handler's"]
    assert MARK.get() == "unset"


class Askers:
    """Coroutines that wait for an answer each."""

    def __init__(self, count: int) -> None:
        self.answers: list[asyncio.Future[int]] = [asyncio.get_running_loop().create_future() for _ in range(count)]
        self.steps: list[str] = []

    async def ask(self, number: int) -> int:
        self.steps.append(f"ask {number}")
        try:
            answer = await self.answers[number]
        finally:
            self.steps.append(f"end {number}")
        return answer + 1


async def test_together_all_have_begun_before_one_is_waited_for() -> None:
    async def at_once(error: bool) -> int:
        if error:
            raise LookupError("at once")
        return 5

    askers = Askers(3)
    waiting = asyncio.create_task(
        together([askers.ask(0), at_once(False), askers.ask(1), at_once(True), askers.ask(2)])
    )
    await asyncio.sleep(0)
    assert askers.steps == ["ask 0", "ask 1", "ask 2"]
    askers.answers[2].set_result(30)
    askers.answers[1].set_exception(KeyError("later"))
    askers.answers[0].set_result(10)
    found = await waiting
    assert [repr(outcome) for outcome in found] == ["11", "5", "KeyError('later')", "LookupError('at once')", "31"]


async def test_together_is_cancelled_as_a_whole() -> None:
    askers = Askers(3)
    waiting = asyncio.create_task(together([askers.ask(number) for number in range(3)]))
    await asyncio.sleep(0)
    askers.answers[0].set_result(1)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert sorted(askers.steps[3:]) == ["end 0", "end 1", "end 2"]
    assert [answer.cancelled() for answer in askers.answers] == [False, True, True]
