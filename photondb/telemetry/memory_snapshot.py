"""What memory was allocated for, and by which lines, while the process was watched."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections import Counter
from typing import Any

from photondb.reql.memory import resident_bytes

IGNORED = (tracemalloc.Filter(False, tracemalloc.__file__),)


class AlreadyWatching(Exception):
    """Memory can be watched only once at a time."""


_watching = False


async def memory_snapshot(seconds: float, top: int, frames: int, with_objects: bool) -> dict[str, Any]:
    """Watch allocations for a while: those `top` places in the code whose memory has grown most, each with so many
    `frames` of the stack. Raises AlreadyWatching.

    Where tracemalloc runs from the start (PYTHONTRACEMALLOC=1), all that is allocated is told, too. `with_objects`
    counts all objects that the garbage collector knows by type, which holds everything up for as long as it takes.
    """
    global _watching
    if _watching:
        raise AlreadyWatching
    _watching = True
    was_tracing = tracemalloc.is_tracing()
    resident_before = resident_bytes()
    if not was_tracing:
        tracemalloc.start(frames)
    try:
        before = tracemalloc.take_snapshot()
        await asyncio.sleep(seconds)
        after = tracemalloc.take_snapshot()
        traced_bytes, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        if not was_tracing:
            tracemalloc.stop()
        _watching = False
    report: dict[str, Any] = {
        "seconds": seconds,
        "resident_bytes": resident_bytes(),
        "resident_bytes_before": resident_before,
        "allocated_bytes": traced_bytes,
        "allocated_bytes_at_most": peak_bytes,
        "grown": await asyncio.to_thread(_grown, before, after, top),
    }
    if was_tracing:
        report["all"] = await asyncio.to_thread(_all, after, top)
    if with_objects:
        counts = Counter(type(thing).__qualname__ for thing in gc.get_objects())
        report["objects"] = dict(counts.most_common(top))
    return report


def _grown(before: tracemalloc.Snapshot, after: tracemalloc.Snapshot, top: int) -> list[dict[str, Any]]:
    found = after.filter_traces(IGNORED).compare_to(before.filter_traces(IGNORED), "traceback")
    found.sort(key=lambda difference: -difference.size_diff)
    return [
        {
            "bytes": difference.size_diff,
            "blocks": difference.count_diff,
            "where": [f"{frame.filename}:{frame.lineno}" for frame in reversed(difference.traceback)],
        }
        for difference in found[:top]
    ]


def _all(snapshot: tracemalloc.Snapshot, top: int) -> list[dict[str, Any]]:
    found = snapshot.filter_traces(IGNORED).statistics("lineno")
    return [{"bytes": s.size, "blocks": s.count, "where": str(s.traceback[0])} for s in found[:top]]
