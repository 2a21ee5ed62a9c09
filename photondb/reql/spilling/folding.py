"""Folding into more groups, or different values, than fit into memory.

When they become too many, what they amount to so far is put aside, by their order, and begun anew. In the end parts
of the same group stand next to each other, and are merged as partial results of several scans are. So all groups come
in their order, some at a time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from photondb.datum.json import dumps_computed, loads_stored
from photondb.reql.accumulators import Accumulator, Aggregate
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.reql.grouping import Group
from photondb.reql.ordering import Top, TopRows
from photondb.reql.row_aggregates import Distinct
from photondb.reql.spilling.sorter import Sorter, key_of, row_of
from photondb.reql.spilling.workspace import Workspace

if TYPE_CHECKING:
    from photondb.reql.runtime import Runtime

PART_ITEMS = 1000
"""How many groups or values are merged, or put aside, between two looks at the clock."""

MAX_SORTED_AT_ONCE = 100_000
"""More groups or values are put in order step by step, also where they fit into memory: others go on meanwhile."""


class DivisibleAggregate(Protocol):
    """An aggregate whose result has many independent parts, in an order: its accumulators are WeighedAccumulators, and
    each element of their partial results belongs to one part."""

    def start(self) -> Any: ...

    def key_of(self, item: Any) -> bytes:
        """The place of the part to which an element of a partial result belongs."""
        ...

    def combined(self, results: Iterable[Any]) -> Any:
        """The result, of the results for some parts, for the next ones, and so on. Raises where it is too large."""
        ...

    def result_of(self, partial: list[Any]) -> Any:
        """The result where there is but one partial result. Raises where it is too large."""
        ...


class Folding:
    """The accumulator of a DivisibleAggregate within a query. It holds no more than the query may, and puts aside the
    rest."""

    def __init__(self, aggregate: DivisibleAggregate, runtime: Runtime) -> None:
        self.aggregate = aggregate
        self._runtime = runtime
        self._state: Any = aggregate.start()
        self._only: list[Any] | None = None
        """The only partial result so far, as long as nothing else has come. A small one need not be taken apart."""
        self._workspace: Workspace | None = None
        self._sorter: Sorter | None = None

    def feed(self, rows: Sequence[Any]) -> None:
        self._take_apart()
        self._state.feed(rows)
        self._settle()

    def merge(self, partial: list[Any]) -> None:
        if self._only is None and self.empty and len(partial) <= PART_ITEMS:
            self._only = partial
            return
        self._take_apart()
        self._merge(partial)

    def _take_apart(self) -> None:
        if self._only is not None:
            partial, self._only = self._only, None
            self._merge(partial)

    def _merge(self, partial: list[Any]) -> None:
        for start in range(0, len(partial), PART_ITEMS):
            some = partial if len(partial) <= PART_ITEMS else partial[start : start + PART_ITEMS]
            self._state.merge(some)
            self._settle()
            self._runtime.checkpoint(len(some))

    def parts(self) -> Iterator[Accumulator]:
        """Accumulators of some groups or values, of the next ones, and so on. They can be read several times."""
        self._take_apart()
        if self._sorter is None and self._state.held <= MAX_SORTED_AT_ONCE:
            yield self._state
            return
        self._put_aside()
        assert self._sorter is not None
        waiting: list[bytes] = []
        for block in self._sorter.blocks():
            waiting += block
            # The last one may go on in the next block.
            end = bisect_left(waiting, key_of(waiting[-1]))
            if end:
                yield self._merged(waiting[:end])
                del waiting[:end]
        if waiting:
            yield self._merged(waiting)

    def results(self) -> Iterator[Any]:
        """The results for some groups or values, for the next ones, and so on."""
        for part in self.parts():
            yield part.result()

    def partial(self) -> list[Any]:
        return [item for part in self.parts() for item in part.partial()]

    def result(self) -> Any:
        if self._only is not None:
            return self.aggregate.result_of(self._only)
        if self._sorter is None and self._state.held <= MAX_SORTED_AT_ONCE:
            return self._state.result()
        return self.aggregate.combined(self.results())

    @property
    def empty(self) -> bool:
        return self._sorter is None and not self._only and bool(self._state.empty)

    @property
    def held(self) -> int:
        return int(self._state.held) if self._only is None else len(self._only)

    def _settle(self) -> None:
        size = self._state.weight
        if size <= self._runtime.small_bytes:
            return
        if self._workspace is None:
            self._workspace = self._runtime.workspace()
        if not self._workspace.hold(size):
            self._put_aside()

    def _put_aside(self) -> None:
        if self._sorter is None:
            self._sorter = Sorter(self._runtime.workspace())
        items: list[Any] = self._state.partial()
        self._state = self.aggregate.start()
        for start in range(0, len(items), PART_ITEMS):
            some = items[start : start + PART_ITEMS]
            self._sorter.add(list(map(self.aggregate.key_of, some)), list(map(dumps_computed, some)))
            self._runtime.checkpoint(len(some))
        if self._workspace is not None:
            self._workspace.hold(0)

    def _merged(self, entries: list[bytes]) -> Accumulator:
        state: Accumulator = self.aggregate.start()
        state.merge([loads_stored(row_of(entry)) for entry in entries])
        return state


class TooLarge(ReqlError):
    """The first rows of an order are more than fit into memory: all rows are to be sorted."""

    def __init__(self) -> None:
        super().__init__(ErrorKind.RESOURCE_LIMIT, "The first rows of this order take more memory than they may.")


class LimitedTop(TopRows):
    """The accumulator of `Top` within a query. It raises TooLarge when it holds more than the query may."""

    def __init__(self, aggregate: Top, runtime: Runtime) -> None:
        super().__init__(aggregate.ordering, aggregate.count)
        self._runtime = runtime
        self._workspace: Workspace | None = None

    def feed_keyed(self, keys: Sequence[Any], rows: Sequence[Any]) -> None:
        super().feed_keyed(keys, rows)
        size = self.weight
        if size <= self._runtime.small_bytes:
            return
        if self._workspace is None:
            self._workspace = self._runtime.workspace()
        if not self._workspace.hold(size):
            raise TooLarge


def started(aggregate: Aggregate, runtime: Runtime) -> Accumulator:
    """The accumulator of an aggregate within a query."""
    if type(aggregate) is Group or type(aggregate) is Distinct:
        return Folding(aggregate, runtime)
    if type(aggregate) is Top:
        return LimitedTop(aggregate, runtime)
    return aggregate.start()


def partials(accumulator: Accumulator) -> Iterator[Any]:
    """What an accumulator amounts to, as partial results that are to be merged one after the other."""
    if isinstance(accumulator, Folding):
        for part in accumulator.parts():
            yield part.partial()
    else:
        yield accumulator.partial()
