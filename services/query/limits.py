"""What one query may take."""

from __future__ import annotations

from dataclasses import dataclass, field

from photondb.config import Settings
from photondb.reql.memory import total_bytes

DEFAULT_MEMORY_SHARE = 1 / 4


@dataclass(frozen=True)
class QueryLimits:
    """The limits of each query."""

    time_s: float = 3600.0
    """How long a query may be worked on before it is answered, and each further batch of it; changefeeds, and queries
    that only wait for indexes, take as long as they take."""

    memory_bytes: int = field(default_factory=lambda: int(total_bytes() * DEFAULT_MEMORY_SHARE))
    """How much memory it may take, about."""

    @classmethod
    def of(cls, settings: Settings) -> QueryLimits:
        """The limits that settings ask for."""
        if settings.max_query_bytes is None:
            return cls(float(settings.max_query_seconds))
        return cls(float(settings.max_query_seconds), settings.max_query_bytes)
