"""How many calls a server has in hand, and how many it takes at most."""

from __future__ import annotations

import asyncio


class Admission:
    """Counts the calls in flight and refuses those above `limit`. Cap'n Proto has no limit of its own."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0
        self.refused = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def enter(self) -> bool:
        """Count one more call, and return True; return False when there is no room for it."""
        if self.in_flight >= self.limit:
            self.refused += 1
            return False
        if not self.in_flight:
            self._idle.clear()
        self.in_flight += 1
        return True

    def leave(self) -> None:
        """Count one call less; goes with every `enter` that returned True."""
        self.in_flight -= 1
        if not self.in_flight:
            self._idle.set()

    async def idle(self) -> None:
        """Return when no call is in flight."""
        await self._idle.wait()
