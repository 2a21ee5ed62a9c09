"""Waiting with a time limit, also where no task runs."""

from __future__ import annotations

import asyncio
from typing import TypeVar

T = TypeVar("T")


async def within(future: asyncio.Future[T], timeout_ms: float) -> T:
    """The future's result. Raises TimeoutError, and cancels the future, when there is none after `timeout_ms`.

    Unlike `asyncio.timeout` it works in the part of a coroutine that `start_eagerly` runs outside of any task.
    """
    expired = False

    def expire() -> None:
        nonlocal expired
        expired = future.cancel()

    timer = asyncio.get_running_loop().call_later(timeout_ms / 1000, expire)
    try:
        return await future
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if expired and (task is None or not task.cancelling()):
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()
