"""Where everything in the process is at the moment: threads, tasks, and evaluations that wait."""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from types import FrameType
from typing import Any

from photondb.reql.suspend import suspended_stacks

MAX_SHOWN = 1000
"""How many tasks, and how many evaluations, are shown."""

MAX_FRAMES = 60


def stacks() -> dict[str, Any]:
    """All stacks, each with the outermost frame first."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    tasks = sorted(asyncio.all_tasks(), key=lambda task: task.get_name())
    evaluations = suspended_stacks()
    return {
        "threads": [
            {"name": names.get(ident, "?"), "stack": _of_frame(frame)} for ident, frame in sys._current_frames().items()
        ],
        "tasks": [
            {"name": task.get_name(), "coroutine": _name_of(task), "stack": _of_task(task)}
            for task in tasks[:MAX_SHOWN]
        ],
        "tasks_not_shown": max(0, len(tasks) - MAX_SHOWN),
        "evaluations": [_of_frame(frame) for frame in evaluations[:MAX_SHOWN]],
        "evaluations_not_shown": max(0, len(evaluations) - MAX_SHOWN),
    }


def _name_of(task: asyncio.Task[Any]) -> str:
    coroutine = task.get_coro()
    return getattr(coroutine, "__qualname__", type(coroutine).__qualname__)


def _of_frame(frame: FrameType) -> list[str]:
    return _lines(traceback.StackSummary.extract(traceback.walk_stack(frame), limit=MAX_FRAMES, lookup_lines=False))


def _of_task(task: asyncio.Task[Any]) -> list[str]:
    """The frames of a task's coroutine, and of those that it waits for."""
    frames: list[str] = []
    awaited: Any = task.get_coro()
    while awaited is not None and len(frames) < MAX_FRAMES:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None:
            frames.append(f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}")
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return frames


def _lines(summary: traceback.StackSummary) -> list[str]:
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(summary)]
