"""What one query may take, and what all of them may take together."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from photondb.config import Settings
from photondb.reql.memory import MAX_PART_BYTES, total_bytes

DEFAULT_MEMORY_SHARE = 1 / 4
DEFAULT_TOTAL_SHARE = 1 / 2

PARTS = 4
"""One part of a query may hold one part in so many of what the query may take."""

SPILL_FOLDER = "spill"
"""Where in the data directory queries put aside what does not fit into memory."""


def _share(share: float) -> int:
    return int(total_bytes() * share)


@dataclass(frozen=True)
class QueryLimits:
    """The limits of each query, and of all queries of a service."""

    time_s: float = 3600.0
    """How long a query may be worked on before it is answered, and each further batch of it; changefeeds, and queries
    that only wait for indexes, take as long as they take."""

    memory_bytes: int = field(default_factory=lambda: _share(DEFAULT_MEMORY_SHARE))
    """How much memory it may take, about."""

    result_cache_bytes: int = 64 << 20
    """How much memory the answers to queries with the run option `cache` may take, together."""

    total_memory_bytes: int = field(default_factory=lambda: _share(DEFAULT_TOTAL_SHARE))
    """How much memory all queries may take together, about."""

    part_bytes: int = MAX_PART_BYTES
    """How much memory one part of a query (a sort, a group) may hold before it puts the rest aside."""

    spill_dir: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))
    """Where they put aside what does not fit into memory."""

    spill_bytes: int | None = None
    """How much they may put aside; None for half of what is free there."""

    @classmethod
    def of(cls, settings: Settings) -> QueryLimits:
        """The limits that settings ask for."""
        memory_bytes = settings.max_query_bytes or _share(DEFAULT_MEMORY_SHARE)
        return cls(
            float(settings.max_query_seconds),
            memory_bytes,
            settings.result_cache_bytes,
            settings.max_queries_bytes or _share(DEFAULT_TOTAL_SHARE) // (settings.fronts or 1),
            settings.sort_bytes or min(MAX_PART_BYTES, memory_bytes // PARTS),
            settings.spill_dir or settings.data_dir / SPILL_FOLDER,
            settings.spill_bytes,
        )
