"""What functions run in that are evaluated by themselves, without their query: in storage, and for changefeeds."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from photondb.reql.memory import SMALL_BYTES, MemoryBudget, MemoryUse, check_process
from photondb.reql.spilling.space import SpillSpace
from photondb.reql.spilling.workspace import Workspace
from photondb.reql.suspend import may_wait, turns, wait
from photondb.reql.uninterrupted import WORK

DEFAULT_ARRAY_LIMIT = 100_000

UNBOUNDED = 2**62
NO_SPACE = SpillSpace(Path("/nowhere"), 0)
"""Where no function of its own puts anything."""

SLICE_SECONDS = 0.005
"""How long an evaluation runs before it lets others go on."""


class FunctionRuntime:
    """Stands where a function has no query around it: limits, but no services."""

    __slots__ = ("_slice_end", "_turn", "array_limit")

    profile = None
    shared = None
    streams = False
    small_bytes = SMALL_BYTES
    options: dict[str, Any] = {}  # noqa: RUF012  # never changed

    def __init__(self, array_limit: int = DEFAULT_ARRAY_LIMIT) -> None:
        self.array_limit = array_limit
        self._slice_end = 0.0
        self._turn = -1

    @property
    def sequence_limit(self) -> int:
        """As `Runtime.sequence_limit`."""
        return self.array_limit

    def workspace(self) -> Workspace:
        """As `Runtime.workspace`, but nothing is put aside: there is no place for it, and arrays have their limit."""
        return Workspace(MemoryUse(UNBOUNDED, MemoryBudget(UNBOUNDED, UNBOUNDED)), NO_SPACE, self.checkpoint)

    def checkpoint(self, elements: int = 1) -> None:
        """As `Runtime.checkpoint`, but there is no time limit: whoever waits for the value has one."""
        if WORK.limited:
            WORK.spend(elements)
        if time.monotonic() < self._slice_end:
            return
        if self._turn == turns():  # nothing but this function has been running since the slice began
            check_process()
            if may_wait():
                wait(asyncio.sleep(0))
        self._turn = turns()
        self._slice_end = time.monotonic() + SLICE_SECONDS


NO_QUERY = FunctionRuntime()
