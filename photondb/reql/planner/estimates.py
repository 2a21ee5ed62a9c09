"""How many documents a key set leads to, by what is known of the index."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from photondb.api.storage_status import IndexStatistics
from photondb.datum.keys import HIGHEST
from photondb.reql.index_values import Apart
from photondb.reql.planner.key_sets import KeyPair, KeySet, single_key

EQUAL_SHARE = 0.01
BETWEEN_SHARE = 0.1
BEYOND_SHARE = 0.25
"""The share of a table's documents that is taken to have one value, a value between two others, or one beyond another,
as long as there are no statistics. If it turns out to be wrong by far, storage reads the table instead."""

MEETING_SHARE = 0.02
"""The share of a table's documents that is taken to meet some geometry. There are no statistics about that."""

MAX_BOUND_BYTES = 64
"""Bounds of histograms are cut to this length."""


def documents(keys: KeySet, rows: int, known: IndexStatistics | None) -> float:
    """About how many documents of a table with `rows` of them the key set leads to."""
    if known is None or not known.bounds:
        if known is not None and not known.entries and not known.apart:
            return 0.0
        return min(float(rows), sum(_guess(pair, rows) for pair in keys.ranges))
    return sum(_in_range(pair, known) for pair in keys.ranges) + apart(keys.apart, known)


def by_primary_key(keys: KeySet, rows: int) -> float:
    """About how many documents of a table have their primary key in the key set: of each key there is one."""
    found = (1.0 if single_key(KeySet((pair,))) is not None else _guess(pair, rows) for pair in keys.ranges)
    return min(float(rows), sum(found))


def apart(places: frozenset[Apart], known: IndexStatistics | None) -> float:
    """How many documents are listed apart in these places."""
    return 0.0 if known is None else float(sum(known.apart.get(place.name, 0) for place in places))


def _guess(pair: KeyPair, rows: int) -> float:
    low, high = pair
    if single_key(KeySet((pair,))) is not None:
        return max(1.0, rows * EQUAL_SHARE)
    return rows * (BEYOND_SHARE if not low or high == HIGHEST else BETWEEN_SHARE)


def _in_range(pair: KeyPair, known: IndexStatistics) -> float:
    """By the histogram: each bound stands for as many entries as there are to the next one."""
    bounds = known.bounds
    depth = known.entries / len(bounds)
    low, high = (key[:MAX_BOUND_BYTES] for key in pair)
    first, last = bisect_left(bounds, low), bisect_left(bounds, high)
    if single_key(KeySet((pair,))) is not None:
        inside = bisect_right(bounds, low) - first
        each = known.entries / max(known.distinct, 1)
        return inside * depth if inside > 1 else max(1.0, min(each, 2 * depth))
    return max(last - first, 0.5 if low < high else 0.0) * depth
