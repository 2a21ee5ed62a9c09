"""The traces of changes, for who delivers them later than the bus tells of them.

Consumer groups and sinks read what they deliver from the change log, which has no traces. The bus has: what it says of
a change is kept until that is delivered. Who is far behind, or has been restarted, delivers without it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from photondb.api.context import SpanNames
from services.changefeed.documents import Row

MAX_KEPT = 10_000
"""Changes whose traces are kept; when there are more, all of them are forgotten."""

MAX_CAUSES = 128
"""How many traced commits are remembered for the span of their delivery."""


class Causes:
    """The spans in which changes were received. It is false while there are none."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int], tuple[SpanNames, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._kept)

    def note(self, row: Row) -> None:
        """A change has been received, in a span of its commit's trace if that is traced."""
        if row.spans:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            self._kept[row.shard, row.sequence] = row.spans, time.time_ns()

    def take(self, changes: Iterable[tuple[int, int]]) -> tuple[SpanNames, int | None]:
        """The spans of these changes (shard and sequence), which are delivered now, and since when the first of them
        has waited. They are forgotten."""
        found = [entry for change in changes if (entry := self._kept.pop(change, None)) is not None]
        if not found:
            return (), None
        return joined([spans for spans, _ in found]), min(since for _, since in found)


def joined(causes: Iterable[SpanNames]) -> SpanNames:
    """The spans of several commits, each once."""
    distinct = list(dict.fromkeys(causes))[:MAX_CAUSES]
    return tuple([span for spans in distinct for span in spans])
