"""What several nodes tell of their parts of a table, or of themselves, added up. All of these are estimates, made for
planning and for status pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from photondb.api.storage_status import (
    EngineStats,
    IndexStatistics,
    IndexStatus,
    TableSizes,
    TableStatistics,
    TableStats,
)

HALVINGS = 50


def sum_of_stats(parts: Sequence[TableStats]) -> TableStats:
    """A table's size, from those of its parts."""
    return TableStats(sum(part.rows for part in parts), sum(part.bytes for part in parts))


def statistics_of_table(parts: Sequence[TableStatistics]) -> TableStatistics:
    """A table's statistics, from those of its parts. Of an index that is not known of everywhere nothing is known."""
    common = set(parts[0].indexes).intersection(*(part.indexes for part in parts[1:]))
    return TableStatistics(
        sum(part.rows for part in parts),
        sum(part.bytes for part in parts),
        {index: statistics_of_index([part.indexes[index] for part in parts]) for index in sorted(common)},
    )


def statistics_of_index(parts: Sequence[IndexStatistics]) -> IndexStatistics:
    """An index's statistics, from those of the parts of its table."""
    apart: dict[str, int] = {}
    for part in parts:
        for kind, count in part.apart.items():
            apart[kind] = apart.get(kind, 0) + count
    return IndexStatistics(
        entries=sum(part.entries for part in parts),
        distinct=distinct_values([(part.entries, part.distinct) for part in parts]),
        bounds=_bounds(parts),
        apart=apart,
        sequence=sum(part.sequence for part in parts),
    )


def distinct_values(parts: Sequence[tuple[int, int]]) -> int:
    """About how many different values there are altogether, where each part has so many (entries, different values).

    Documents are spread by their primary keys, so each entry of a value is on any part with equal chance. A value with
    m entries is then on a given one of n parts with a chance of 1 - (1 - 1/n)**m, from which their number follows.
    """
    entries = sum(count for count, _ in parts)
    low, high = max((distinct for _, distinct in parts), default=0), sum(distinct for _, distinct in parts)
    if not low:
        return 0
    expected = high / len(parts)
    missing_chance = 1 - 1 / len(parts)
    least, most = float(low), float(high)
    for _ in range(HALVINGS):
        middle = (least + most) / 2
        if middle * (1 - missing_chance ** (entries / middle)) < expected:
            least = middle
        else:
            most = middle
    return round(most)


def _bounds(parts: Sequence[IndexStatistics]) -> tuple[bytes, ...]:
    """Values at about equal distances among all entries, as many as the part with most of them has."""
    weighted = sorted(
        (bound, part.entries / len(part.bounds)) for part in parts for bound in part.bounds if part.entries
    )
    if not weighted:
        return ()
    wanted = max(len(part.bounds) for part in parts)
    step = sum(weight for _, weight in weighted) / wanted
    bounds: list[bytes] = []
    passed = 0.0
    for bound, weight in weighted:
        if passed >= len(bounds) * step - 1e-6 and len(bounds) < wanted:
            bounds.append(bound)
        passed += weight
    return tuple(bounds)


def status_of_indexes(parts: Iterable[Sequence[IndexStatus]]) -> list[IndexStatus]:
    """How far the indexes of a table are built, from how far its parts are: an index is ready when all of them have
    it. One that a part does not know (yet, or any more) is not shown."""
    found: dict[str, list[IndexStatus]] = {}
    number = 0
    for part in parts:
        number += 1
        for status in part:
            found.setdefault(status.name, []).append(status)
    return [
        IndexStatus(
            name,
            all(status.ready for status in statuses),
            sum(status.progress for status in statuses) / number,
            next((status.problem for status in statuses if status.problem), ""),
        )
        for name, statuses in sorted(found.items())
        if len(statuses) == number
    ]


def sum_of_engines(nodes: Sequence[EngineStats]) -> EngineStats:
    """What the stores of all nodes hold and have done together."""
    tables: dict[int, TableSizes] = {}
    reads: Counter[int] = Counter()
    for node in nodes:
        reads.update(node.reads)
        for table, sizes in node.tables.items():
            total = tables.setdefault(table, TableSizes())
            total.documents += sizes.documents
            total.change_log += sizes.change_log
            for index, size in sizes.indexes.items():
                total.indexes[index] = total.indexes.get(index, 0) + size
    return EngineStats(
        cache_bytes=sum(node.cache_bytes for node in nodes),
        cache_used_bytes=sum(node.cache_used_bytes for node in nodes),
        cache_hits=sum(node.cache_hits for node in nodes),
        cache_misses=sum(node.cache_misses for node in nodes),
        compactions_running=sum(node.compactions_running for node in nodes),
        compaction_pending_bytes=sum(node.compaction_pending_bytes for node in nodes),
        compaction_read_bytes=sum(node.compaction_read_bytes for node in nodes),
        compaction_written_bytes=sum(node.compaction_written_bytes for node in nodes),
        writes_stopped=any(node.writes_stopped for node in nodes),
        log_written_bytes=sum(node.log_written_bytes for node in nodes),
        log_syncs=sum(node.log_syncs for node in nodes),
        memory_table_bytes=sum(node.memory_table_bytes for node in nodes),
        table_file_bytes=sum(node.table_file_bytes for node in nodes),
        tables=tables,
        reads=dict(reads),
    )
