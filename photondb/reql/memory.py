"""How much memory queries take.

Python cannot say what a value weighs, but the operating system says how much memory the process has: what that grows by
while one query is evaluated, and nothing else is, was taken by the query. What gathers many rows (a sort, groups, an
array) also tells how much it holds, about, before the process has grown; so it can put rows aside in time.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from sys import getsizeof
from typing import Any

from photondb.config.machine import memory_bytes
from photondb.reql.errors import ReqlError, resource_limit

MEGABYTE = 2**20

_PAGE = os.sysconf("SC_PAGE_SIZE")
MOST = 0.9
"""The part of the machine's memory beyond which no query may take more."""

SMALL_BYTES = 2 * MEGABYTE
"""What a query may take however much the others have taken: it is too little to matter, and to know it so exactly."""

ROUGH_BYTES = 32 * MEGABYTE
"""The same where only the growth of the process tells: some of that are caches, and what Python keeps for later."""

MAX_PART_BYTES = 256 * MEGABYTE
"""How much one part of a query may hold in memory: what is beyond goes to files, which the operating system keeps in
memory as long as there is room."""

SAMPLE_ROWS = 8
SAMPLE_ELEMENTS = 32
SAMPLE_PARTS = 500
"""How many rows, elements of an array or object, and parts of a value are looked at to know about how much memory they
take."""


@functools.cache
def _statm() -> int:
    return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)


def resident_bytes() -> int:
    """How much memory this process has."""
    return int(os.pread(_statm(), 128, 0).split(maxsplit=2)[1]) * _PAGE


@functools.cache
def total_bytes() -> int:
    """How much memory the machine has, or the container."""
    return memory_bytes()


def check_process() -> None:
    """Raise when the process has so much memory that there is hardly any left."""
    if resident_bytes() > MOST * total_bytes():
        raise resource_limit("There is not enough memory left for this query.")


class MemoryBudget:
    """What all queries of a service have taken together, of at most `limit` bytes; `refused` counts the queries that
    were ended because there was no more. One part of a query that can put rows aside (a sort, a group) holds
    `part_bytes` at most."""

    def __init__(self, limit: int, part_bytes: int = MAX_PART_BYTES) -> None:
        self.limit = limit
        self.part_bytes = part_bytes
        self.small_bytes = min(SMALL_BYTES, part_bytes)
        """What takes less is not accounted for."""
        self.used = 0
        self.refused = 0

    @property
    def exceeded(self) -> bool:
        """Whether more is taken than may be."""
        return self.used > self.limit

    def refusal(self) -> ReqlError:
        """The error for a query that wants more than is left."""
        self.refused += 1
        return resource_limit(
            f"The queries that are running take as much memory as they may together (limit {self.limit // MEGABYTE:,} "
            "MB). Run this query again when others have ended."
        )


class _Share:
    """A part of a budget, which goes back when it is dropped."""

    __slots__ = ("budget", "size")

    def __init__(self, budget: MemoryBudget) -> None:
        self.budget = budget
        self.size = 0

    def set(self, size: int) -> None:
        self.budget.used += size - self.size
        self.size = size

    def __del__(self) -> None:
        self.budget.used -= self.size


class Holding:
    """What something holds of a budget that it can hand on at any time. It goes back when this is dropped."""

    __slots__ = ("_share",)

    def __init__(self, budget: MemoryBudget) -> None:
        self._share = _Share(budget)

    def fits(self, size: int) -> bool:
        """Note that so many bytes are held. Returns whether that may be, or they should be handed on."""
        self._share.set(size)
        budget = self._share.budget
        return size <= budget.part_bytes and (size <= budget.small_bytes or not budget.exceeded)


class MemoryUse:
    """What one query has taken, of at most `limit` bytes, and of what all queries may take."""

    __slots__ = ("_at_start", "_held", "_share", "_taken", "budget", "limit", "spilled_bytes")

    def __init__(self, limit: int, budget: MemoryBudget) -> None:
        self.limit = limit
        self.budget = budget
        self.spilled_bytes = 0
        """How much of it has been written to the disk, because it was too much for memory."""
        self._taken = 0
        self._held = 0
        self._at_start = 0
        self._share: _Share | None = None

    @property
    def used(self) -> int:
        """About how many bytes it has now."""
        return max(self._taken, self._held, 0)

    def start(self) -> None:
        """From now on the query is evaluated."""
        self._at_start = resident_bytes()

    def stop(self) -> None:
        """Add what was taken since `start`, if nothing else was evaluated in between. Raises when it is too much."""
        resident = resident_bytes()
        grown = resident - self._at_start
        self._taken += grown
        self._settle()
        if self._taken > self.limit:
            raise self._too_much()
        if grown > 0:
            if resident > MOST * total_bytes():
                raise resource_limit("There is not enough memory left for this query.")
            if self.budget.exceeded and self._taken > ROUGH_BYTES:
                raise self.budget.refusal()

    def hold(self, grown: int) -> bool:
        """Note that a part of the query holds so many bytes more, or less. Returns whether it may: that is for those
        who can do with less. For others there is `require`."""
        self._held += grown
        self._settle()
        return grown <= 0 or not (self._held > self.limit or (self.budget.exceeded and self._held > SMALL_BYTES))

    def require(self, grown: int) -> None:
        """The same for what the query cannot do without. Raises when it may not have it."""
        if not self.hold(grown):
            raise self._too_much() if self._held > self.limit else self.budget.refusal()

    def give_back(self) -> None:
        """The query has ended."""
        self._taken = self._held = 0
        self._share = None

    def _settle(self) -> None:
        used = self.used
        if self._share is None:
            if used < SMALL_BYTES:
                return
            self._share = _Share(self.budget)
        self._share.set(used)

    def _too_much(self) -> ReqlError:
        return resource_limit(f"The query takes more memory than it may (limit {self.limit // MEGABYTE:,} MB).")


def weight(value: Any) -> int:
    """About how many bytes of memory a value takes; names of fields, which are mostly shared, not counted. Of what is
    large only some parts are looked at."""
    kind = type(value)
    if kind is not dict and kind is not list:
        return getsizeof(value)
    total = 0.0
    looked_at = 0
    level = [(value, 1.0)]
    while level and looked_at < SAMPLE_PARTS:
        looked_at += len(level)
        inner: list[tuple[Any, float]] = []
        for part, times in level:
            total += getsizeof(part) * times
            kind = type(part)
            if kind is dict or kind is list:
                elements = list(part.values()) if kind is dict else part
                count = len(elements)
                if count > SAMPLE_ELEMENTS:
                    elements = elements[:: count // SAMPLE_ELEMENTS]
                    times *= count / len(elements)
                inner += [(element, times) for element in elements]
        level = inner
    return int(total)


def mean_weight(rows: Sequence[Any]) -> int:
    """About how many bytes each of the rows takes, by some of them."""
    if not rows:
        return 0
    sample = rows[:: len(rows) // SAMPLE_ROWS] if len(rows) > SAMPLE_ROWS else rows
    return sum(map(weight, sample)) // len(sample)
