"""Waiting with a time limit."""

from __future__ import annotations

import asyncio

import pytest

from photondb.rpc.deadline import within
from photondb.rpc.eager import start_eagerly


def future() -> asyncio.Future[str]:
    return asyncio.get_running_loop().create_future()


async def test_a_result_in_time() -> None:
    waited_for = future()
    asyncio.get_running_loop().call_soon(waited_for.set_result, "here")
    assert await within(waited_for, 60_000) == "here"


async def test_an_exception_in_time() -> None:
    waited_for = future()
    asyncio.get_running_loop().call_soon(waited_for.set_exception, LookupError("none"))
    with pytest.raises(LookupError, match="none"):
        await within(waited_for, 60_000)


async def test_a_result_too_late() -> None:
    waited_for = future()
    with pytest.raises(TimeoutError):
        await within(waited_for, 1)
    assert waited_for.cancelled()


async def test_a_future_that_is_cancelled_by_somebody_else_is_not_late() -> None:
    waited_for = future()
    waited_for.cancel()
    with pytest.raises(asyncio.CancelledError):
        await within(waited_for, 60_000)


async def test_a_task_that_is_cancelled_while_it_waits() -> None:
    waited_for = future()
    task = asyncio.create_task(within(waited_for, 60_000))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert waited_for.cancelled()


async def test_without_a_task() -> None:
    started = start_eagerly(within(future(), 1))
    assert started.task is not None
    with pytest.raises(TimeoutError):
        await started.task
