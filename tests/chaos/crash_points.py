"""The named points of the commit path at which a process can be made to die, as by kill -9.

They are put around the real methods in the process that is to die, so that the code of the database knows nothing of
them.
"""

from __future__ import annotations

import inspect
import os
import signal
from collections.abc import Callable, Mapping
from typing import Any

from services.storage.builder import IndexBuilder
from services.storage.commit import LocalCommitPath
from services.storage.live_catalogue import LiveCatalogue
from services.storage.rocks import Store
from services.storage.trimmer import LogTrimmer

POINTS: dict[str, tuple[type, str, bool]] = {
    "before a batch is written": (Store, "write", False),
    "after a batch is written": (Store, "write", True),
    "before a sync": (Store, "sync", False),
    "after a sync": (Store, "sync", True),
    "before a commit is appended": (LocalCommitPath, "append", False),
    "after a commit is appended": (LocalCommitPath, "append", True),
    "before a durable commit is shown": (LocalCommitPath, "_show", False),
    "after a durable commit is shown": (LocalCommitPath, "_show", True),
    "before the catalogue is changed": (LiveCatalogue, "_carry_out", False),
    "after the catalogue is changed": (LiveCatalogue, "_carry_out", True),
    "after a step of an index build": (IndexBuilder, "_step", True),
    "before an index is ready": (LiveCatalogue, "_finish_index", False),
    "after an index is ready": (LiveCatalogue, "_finish_index", True),
    "before a flush": (Store, "flush", False),
    "after a flush": (Store, "flush", True),
    "before a checkpoint": (Store, "checkpoint", False),
    "after a checkpoint": (Store, "checkpoint", True),
    "after a log is trimmed": (LogTrimmer, "trim", True),
}
"""By name: the method, and whether the point is behind it."""


REACHED = b"reached\n"
"""What a process says on standard output as it dies."""


def die_at(name: str, count: int, points: Mapping[str, tuple[type, str, bool]] = POINTS) -> None:
    """Let this process die when it comes to the point for the `count`th time."""
    owner, method, behind = points[name]
    original: Callable[..., Any] = getattr(owner, method)
    left = count

    def passed() -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            os.write(1, REACHED)
            os.kill(os.getpid(), signal.SIGKILL)

    def passing(*args: Any, **kwargs: Any) -> Any:
        if not behind:
            passed()
        result = original(*args, **kwargs)
        if behind:
            passed()
        return result

    async def passing_later(*args: Any, **kwargs: Any) -> Any:
        if not behind:
            passed()
        result = await original(*args, **kwargs)
        if behind:
            passed()
        return result

    setattr(owner, method, passing_later if inspect.iscoroutinefunction(original) else passing)
