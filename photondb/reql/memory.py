"""How much memory queries take.

Python cannot say what a value weighs, but the operating system says how much memory the process has: what that grows by
while one query is evaluated, and nothing else is, was taken by the query.
"""

from __future__ import annotations

import functools
import os

from photondb.config.machine import memory_bytes
from photondb.reql.errors import resource_limit

MEGABYTE = 2**20

_PAGE = os.sysconf("SC_PAGE_SIZE")
MOST = 0.9
"""The part of the machine's memory beyond which no query may take more."""


@functools.cache
def _statm() -> int:
    return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)


def resident_bytes() -> int:
    """How much memory this process has."""
    return int(os.pread(_statm(), 128, 0).split(maxsplit=2)[1]) * _PAGE


@functools.cache
def total_bytes() -> int:
    """How much memory the machine has, or the container, when first asked."""
    return memory_bytes()


def check_process() -> None:
    """Raise when the process has so much memory that there is hardly any left."""
    if resident_bytes() > MOST * total_bytes():
        raise resource_limit("There is not enough memory left for this query.")


class MemoryUse:
    """What one query has taken, of at most `limit` bytes."""

    __slots__ = ("_at_start", "_taken", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._taken = 0
        self._at_start = 0

    def start(self) -> None:
        """From now on the query is evaluated."""
        self._at_start = resident_bytes()

    def stop(self) -> None:
        """Add what was taken since `start`, if nothing else was evaluated in between. Raises when it is too much."""
        resident = resident_bytes()
        grown = resident - self._at_start
        self._taken += grown
        if self._taken > self.limit:
            raise resource_limit(f"The query takes more memory than it may (limit {self.limit // MEGABYTE:,} MB).")
        if grown > 0 and resident > MOST * total_bytes():
            raise resource_limit("There is not enough memory left for this query.")
