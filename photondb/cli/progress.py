"""Shows on standard error how far a long command has got."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

EVERY_S = 1.0


class ProgressLines:
    """A line for each step, and more while it takes long: one every second, of how many bytes of how many."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock

    def start(self, step: str, total_bytes: int) -> Callable[[int], None]:
        """Begin a step. What is returned is told of bytes that were dealt with."""
        self._say(f"{step} {total_bytes / 1e6:,.1f} MB" if total_bytes else step)
        done = 0
        due = self._clock() + EVERY_S

        def advance(count: int) -> None:
            nonlocal done, due
            done += count
            if self._clock() >= due:
                due = self._clock() + EVERY_S
                self._say(f"{step} {min(done / max(total_bytes, 1), 1):.0%}")

        return advance

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)
