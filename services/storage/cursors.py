"""The scans that are open, and the end of those that have been so for too long.

An open scan keeps its point in time, and with it files and memory that could be freed otherwise. So there may be only
so many, and none for ever; who reads on from one that was given up is told so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from weakref import WeakKeyDictionary

from services.storage.scan import ScanRun


class OpenScans:
    """The scans under way, oldest first. Those that nobody holds any more are forgotten."""

    def __init__(self, max_open: int, max_age_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_open = max_open
        self._max_age_s = max_age_s
        self._clock = clock
        self.given_up = 0
        """How many had to end early."""
        self._opened: WeakKeyDictionary[ScanRun, float] = WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self._opened)

    def __iter__(self) -> Iterator[ScanRun]:
        return iter(list(self._opened))

    def add(self, run: ScanRun) -> None:
        """Keep an eye on a scan. The oldest one is given up when there are too many."""
        if len(self._opened) >= self._max_open:
            oldest = next(iter(self._opened))
            self._give_up(oldest, f"more than {self._max_open:,} cursors were open, of which it was the oldest")
        self._opened[run] = self._clock()

    def discard(self, run: ScanRun) -> None:
        """A scan has ended."""
        self._opened.pop(run, None)

    def expire(self) -> None:
        """Give up the scans that are too old."""
        oldest_s = self._clock() - self._max_age_s
        for run, opened_s in list(self._opened.items()):
            if opened_s >= oldest_s:
                break
            self._give_up(run, f"it was open for longer than {self._max_age_s:g} seconds")

    def _give_up(self, run: ScanRun, why: str) -> None:
        self._opened.pop(run, None)
        self.given_up += 1
        run.abort(f"The snapshot that this cursor reads was given up, because {why}. Run the query again.")
