"""Reads the rows of a sorted table in the order of an index (`photondb.reql.planner.orders`)."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

from photondb.api.storage import Scan
from photondb.reql.chunk import Chunk
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.reql.function_runtime import DEFAULT_ARRAY_LIMIT
from photondb.reql.join_partners import expected
from photondb.reql.ordering import Ordering
from photondb.reql.pipeline import Pipeline
from photondb.reql.planner import costs
from photondb.reql.planner.access import Decision
from photondb.reql.planner.orders import IndexOrder, cheapest, index_orders_of
from photondb.reql.scan_source import ScanSource
from photondb.reql.steps import FilterStep, Step, keeps_count
from photondb.reql.stream import Stream
from photondb.reql.values import check_array_size

if TYPE_CHECKING:
    from photondb.api.catalogue import TableInfo
    from photondb.reql.runtime import Runtime


class IndexOrderedScan(ScanSource):
    """The documents of a table in the order of an index, with those that have no place in it."""

    def __init__(self, info: TableInfo, order: IndexOrder, most_read: int | None) -> None:
        super().__init__(info, order.index, order.ranges, order.descending, ordered=True)
        self.order = order
        self.most_read = most_read

    def planned(
        self, runtime: Runtime, steps: Sequence[Step], limit: int | None = None
    ) -> tuple[Scan, Sequence[Step], Decision | None]:
        scan, rest, decision = super().planned(runtime, steps, limit)
        scan.by_value = scan.keyed = True
        scan.most_read = self.most_read
        return scan, rest, decision

    def in_order(self, runtime: Runtime, steps: Sequence[Step], limit: int | None, rows: int) -> Iterator[Chunk] | None:
        """The rows after `steps`, at most `limit`; None where some stand elsewhere in the index than in the order of
        values, or too many documents would have to be read. Raises the array limit's error when they are too many."""
        chunks = self.chunks(runtime, steps, limit, rows)
        try:
            if self.most_read is not None:
                chunks = iter(list(chunks))
            first = next(chunks, None)
        except ReqlError as error:
            if error.kind == ErrorKind.OP_FAILED:  # the index was dropped meanwhile, or TOO_MANY_READ
                return None
            raise
        if first is None:
            return iter(())
        keys = first.keys
        assert keys is not None
        if keys[0][0] < len(self.order.elsewhere):  # the number of the range
            if isinstance(chunks, Generator):
                chunks.close()
            return None
        return self._counted(runtime, _chained(first, chunks))

    def _counted(self, runtime: Runtime, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        count = 0
        for chunk in chunks:
            count += len(chunk)
            check_array_size(count, runtime.sequence_limit)
            yield chunk


def _chained(first: Chunk, rest: Iterator[Chunk]) -> Iterator[Chunk]:
    yield first
    yield from rest


def index_ordered(
    runtime: Runtime, stream: Stream, ordering: Ordering, steps: Sequence[Step], limit: int | None
) -> IndexOrderedScan | None:
    """The scan that gives the rows of a stream in an order, of which the first `limit` are wanted, if there is one for
    that which takes less than to sort them. It has the stream's steps to do, and `steps` behind them."""
    source = stream.source
    if not isinstance(source, ScanSource) or not source.whole or source.descending or not source.info.indexes:
        return None
    if not runtime.context.optimizations or runtime.array_limit < DEFAULT_ARRAY_LIMIT:
        return None
    if not all(step.pushable for step in stream.steps):
        return None
    info = source.info
    statistics = runtime.statistics(info)
    all_steps = (*stream.steps, *steps)
    wanted = Pipeline(all_steps).looks_at if all_steps else None
    orders = index_orders_of(info, ordering, stream.steps, wanted, statistics)
    if not orders:
        return None
    rows, cost = expected(runtime, stream)
    cost += rows * (costs.TAKE + costs.SORT if limit is None else costs.KEEP)
    order = cheapest(orders, statistics, rows, limit, cost)
    if order is None:
        return None
    filtered = limit is not None and any(type(step) is FilterStep for step in stream.steps)
    return IndexOrderedScan(info, order, order.most_read(statistics.rows) if filtered else None)


def pushed_steps(steps: Sequence[Step]) -> int:
    """How many of the steps behind an order storage can do on its rows, so that as many leave them as are ordered."""
    return sum(1 for _ in takewhile(lambda step: step.pushable and keeps_count((step,)), steps))
