"""How the suite's processes live: until somebody asks them to stop, and not much longer."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from types import FrameType
from typing import Any

STOP_TIMEOUT_S = 1.8


async def until_asked_to_stop(work: Coroutine[Any, Any, None]) -> None:
    """Run `work`, which SIGTERM and SIGINT cancel, to its end.

    From then on the process has 1.8 seconds to exit before the kernel ends it, even if its loop hangs. That cannot
    lose a write that was acknowledged.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    asked = False

    # Handlers of Python, not of the loop, which would not call them while a callback hangs.
    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            return  # signals often come twice, from a terminal and from a parent process
        asked = True
        signal.setitimer(signal.ITIMER_REAL, STOP_TIMEOUT_S)  # nobody handles SIGALRM: it ends the process
        loop.call_soon_threadsafe(task.cancel)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not asked:
            raise
