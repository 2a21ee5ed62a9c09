"""The memory that the clients of a user make the gateway hold: queries, also unfinished ones, and answers not taken.

What one connection may hold is limited, but a user may have thousands. What all of his hold together is counted when
one holds a lot, so that clients who ask for little cost nothing. It is limited by user, and not for all together: so
one who holds too much is in nobody's way but his own.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Protocol

HEAVY_BYTES = 1 << 20
"""From when on a client is counted."""


class Holder(Protocol):
    """A client."""

    @property
    def user(self) -> str: ...

    @property
    def held_bytes(self) -> int:
        """How much the gateway holds for it at the moment."""
        ...


class Holdings:
    """All clients that hold a lot. Those of one user may hold `max_user_bytes` together."""

    def __init__(self, max_user_bytes: int) -> None:
        self.max_user_bytes = max_user_bytes
        self._heavy: defaultdict[str, set[Holder]] = defaultdict(set)

    def exceeded_by(self, holder: Holder) -> bool:
        """Whether a client that has got something more to hold, and its user's others, hold too much now."""
        if holder.held_bytes < HEAVY_BYTES:
            return False
        heavy = self._heavy[holder.user]
        heavy.add(holder)
        held = {other: other.held_bytes for other in heavy}
        heavy.intersection_update(other for other, count in held.items() if count >= HEAVY_BYTES)
        return sum(held.values()) > self.max_user_bytes

    def forget(self, holder: Holder) -> None:
        """A client has gone."""
        heavy = self._heavy.get(holder.user)
        if heavy is not None:
            heavy.discard(holder)
            if not heavy:
                del self._heavy[holder.user]
