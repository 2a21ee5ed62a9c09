"""Waiting with a time limit, also where no task runs."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

T = TypeVar("T")


async def within(future: asyncio.Future[T], timeout_ms: float) -> T:
    """The future's result. Raises TimeoutError, and cancels the future, when there is none after `timeout_ms`.

    Unlike `asyncio.timeout` it works in the part of a coroutine that `start_eagerly` runs outside of any task.
    """
    limit = _Limit()
    timer = asyncio.get_running_loop().call_later(timeout_ms / 1000, limit.reach, future)
    try:
        return await future
    except asyncio.CancelledError:
        if limit.reached and not is_cancelled():
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()
        del future  # the traceback of its exception leads to this frame, and together they would be a cycle


class _Limit:
    """Whether a time limit was reached before what it limits was done."""

    reached = False

    def reach(self, future: asyncio.Future[Any]) -> None:
        self.reached = future.cancel()


def is_cancelled() -> bool:
    """Whether the running task has been told to stop."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
