"""The SCRAM exchanges that have begun and not ended."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from services.auth.scram import Exchange

LIFETIME_MS = 30_000
MAX_EXCHANGES = 10_000


class Exchanges:
    """Remembers exchanges for LIFETIME_MS, at most MAX_EXCHANGES of them, and each for one try.

    When there are too many, the oldest is forgotten: refusing new ones instead would let anybody lock all others out.
    `clock` tells seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, max_exchanges: int = MAX_EXCHANGES) -> None:
        self._clock = clock
        self._max_exchanges = max_exchanges
        self._exchanges: dict[str, tuple[float, Exchange]] = {}  # oldest first

    def remember(self, exchange: Exchange) -> str:
        """Keep an exchange. Returns the name by which `take` finds it, which nobody can guess."""
        now = self._clock()
        self._forget_expired(now)
        if len(self._exchanges) >= self._max_exchanges:
            del self._exchanges[next(iter(self._exchanges))]
        name = secrets.token_urlsafe(16)
        self._exchanges[name] = (now + LIFETIME_MS / 1000, exchange)
        return name

    def take(self, name: str) -> Exchange | None:
        """Return the exchange and forget it. None when there is none of that name any more."""
        self._forget_expired(self._clock())
        entry = self._exchanges.pop(name, None)
        return None if entry is None else entry[1]

    def __len__(self) -> int:
        return len(self._exchanges)

    def _forget_expired(self, now: float) -> None:
        while self._exchanges:
            name = next(iter(self._exchanges))
            if self._exchanges[name][0] > now:
                return
            del self._exchanges[name]
