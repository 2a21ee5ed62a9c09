"""A profile of the thread of the loop, taken while the process works: where its CPU time goes."""

from __future__ import annotations

import asyncio
import time
from typing import Literal

from pyinstrument import Profiler
from pyinstrument.renderers import ConsoleRenderer, HTMLRenderer, SpeedscopeRenderer
from pyinstrument.session import Session
from pyinstrument.stack_sampler import get_stack_sampler

Format = Literal["html", "speedscope", "text"]
Clock = Literal["cpu", "wall"]

INTERVAL_S = 0.001
"""How often the stack is looked at, by the profile's clock."""

MEDIA_TYPES: dict[Format, str] = {"html": "text/html", "speedscope": "application/json", "text": "text/plain"}


class AlreadyProfiling(Exception):
    """Only one profile can be taken at a time."""


_profiling = False


async def profile(seconds: float, output: Format, clock: Clock) -> str:
    """Profile for a while and return the profile in a format. Raises AlreadyProfiling.

    Meanwhile all Python code of this thread takes longer, up to several times as long.
    """
    global _profiling
    if _profiling:
        raise AlreadyProfiling
    _profiling = True
    # Evaluations run in greenlets, and tasks in contexts of their own: the profile is to have all of them.
    profiler = Profiler(interval=INTERVAL_S, async_mode="disabled")
    sampler = get_stack_sampler()
    sampler.timer_func = time.thread_time if clock == "cpu" else None
    try:
        profiler.start()
        try:
            await asyncio.sleep(seconds)
        finally:
            session = profiler.stop()
    finally:
        sampler.timer_func = None
        _profiling = False
    return await asyncio.to_thread(_render, session, output)


def _render(session: Session, output: Format) -> str:
    renderers = {"html": HTMLRenderer, "speedscope": SpeedscopeRenderer, "text": ConsoleRenderer}
    page: str = renderers[output]().render(session)
    return page
