"""What has been compiled, kept by shape so that it need not be compiled again."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

V = TypeVar("V")

MAX_ENTRIES = 4096
MAX_WEIGHT = 500_000
"""How many terms all that is kept may have together; one takes about a kilobyte."""

CHARACTERS_PER_TERM = 1000
"""How many characters of names in a shape weigh as much as a term."""


class CompiledCache(Generic[V]):
    """Compiled things by what they were compiled from. There may be so many of them, and they may be so large; what was
    compiled first leaves first. What is very large by itself is not kept."""

    def __init__(self, max_entries: int = MAX_ENTRIES, max_weight: int = MAX_WEIGHT) -> None:
        self.max_entries = max_entries
        self.max_weight = max_weight
        self.weight = 0
        self._entries: dict[Hashable, tuple[V, int]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable) -> V | None:
        """What was compiled from `key`, if it is still there."""
        entry = self._entries.get(key)
        return None if entry is None else entry[0]

    def keep(self, key: Hashable, compiled: V, weight: int) -> None:
        """Keep something of a weight: how many terms it has."""
        if weight > self.max_weight // 8:
            return
        self._entries[key] = (compiled, weight)
        self.weight += weight
        while self.weight > self.max_weight or len(self._entries) > self.max_entries:
            _, dropped = self._entries.pop(next(iter(self._entries)))
            self.weight -= dropped
