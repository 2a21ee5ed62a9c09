"""What one query may take."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

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

    result_cache_bytes: int = 64 << 20
    """How much memory the answers to queries with the run option `cache` may take, together."""

    @classmethod
    def of(cls, settings: Settings) -> QueryLimits:
        """The limits that settings ask for."""
        limits = cls(float(settings.max_query_seconds), result_cache_bytes=settings.result_cache_bytes)
        if settings.max_query_bytes is None:
            return limits
        return replace(limits, memory_bytes=settings.max_query_bytes)
