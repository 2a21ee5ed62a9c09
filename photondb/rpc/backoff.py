"""How long to wait between tries: exponential back-off with jitter."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Gives delays that double from `first_ms` up to `longest_ms`, each shortened by chance by up to a half.

    The jitter keeps the clients of a service that came back from all arriving at once. `chance` gives numbers from 0
    to 1.
    """

    def __init__(self, first_ms: int, longest_ms: int, chance: Callable[[], float] = random.random) -> None:
        self._first_ms = first_ms
        self._longest_ms = longest_ms
        self._chance = chance
        self._ceiling_ms = first_ms

    def next_delay_ms(self) -> float:
        """How long to wait before the next try, in milliseconds."""
        delay_ms = self._ceiling_ms * (1 - self._chance() / 2)
        self._ceiling_ms = min(self._ceiling_ms * 2, self._longest_ms)
        return delay_ms

    def reset(self) -> None:
        """Start again with short delays, because a try has succeeded."""
        self._ceiling_ms = self._first_ms
