"""What came of the scans of a query that is run to be explained, and of its other sequences.

A scan may be made many times (in a function that is called for each row): its figures are added up.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from photondb.api.storage import Scan
from photondb.reql.chunk import Chunk
from photondb.reql.measures import ScanMeasures, StepMeasure
from photondb.reql.steps import Step

if TYPE_CHECKING:
    from photondb.reql.stream import Stream

Signature = tuple[Hashable, ...]
"""What two scans of the same place in a query have in common."""

MAX_SCANS = 1000
"""How many different scans are told apart. A query may make one for each of its rows, of other keys each time."""


class ScanTrace:
    """The figures of one scan, made `times` times, with those of the `rest` of its steps, which `query` does."""

    def __init__(self, scan: Scan, rest: int) -> None:
        self.scan = scan
        self.times = 0
        self.rest = ScanMeasures.of_steps(rest)
        self._past = ScanMeasures.of_steps(len(scan.steps))
        self._latest: ScanMeasures | None = None

    def begin(self) -> None:
        """The scan is made once more."""
        self._past = self.total
        self._latest = None
        self.times += 1

    def learn(self, measures: ScanMeasures | None) -> None:
        """Take in what has come of it so far."""
        if measures is not None:
            self._latest = measures

    def apply(self, rest: Sequence[Step], values: list[Any]) -> list[Any]:
        """Do the rest of the steps."""
        for position, step in enumerate(rest):
            began = perf_counter()
            values = step.apply(values)
            self.rest.note(position, len(values), perf_counter() - began)
        return values

    @property
    def total(self) -> ScanMeasures:
        """The figures of all times."""
        latest, past = self._latest, self._past
        if latest is None:
            return past
        total = ScanMeasures.of_steps(len(past.steps))
        total.read = past.read + latest.read
        total.seconds = past.seconds + latest.seconds
        total.left_index = past.left_index or latest.left_index
        for position, (old, new) in enumerate(zip(past.steps, latest.steps, strict=True)):
            total.note(position, old.rows + new.rows, old.seconds + new.seconds)
        return total


class Trace:
    """The scans of one query, and what came of its sequences: how many rows, and in what time with all below them."""

    def __init__(self) -> None:
        self.scans: dict[Signature, ScanTrace] = {}
        self.streams: dict[Hashable, StepMeasure] = {}

    def watched(self, stream: Stream, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """The chunks of a stream, which are counted."""
        measure = self._measure(place(stream))
        while True:
            began = perf_counter()
            chunk = next(chunks, None)
            measure.seconds += perf_counter() - began
            if chunk is None:
                return
            measure.rows += len(chunk)
            yield chunk

    def note_groups(self, stream: Stream, groups: int, seconds: float) -> None:
        """Note how many groups a stream was folded into."""
        measure = self._measure(place(stream))
        measure.rows += groups
        measure.seconds += seconds

    def _measure(self, key: Hashable) -> StepMeasure:
        if key not in self.streams and len(self.streams) >= MAX_SCANS:
            key = None
        return self.streams.setdefault(key, StepMeasure())

    def begin(self, scan: Scan, rest: Sequence[Step], key: Signature) -> ScanTrace:
        """Note that a scan begins, and have it measured; `key` tells it from the query's others."""
        scan.measured = True
        found = self.scans.get(key)
        if found is None:
            if len(self.scans) >= MAX_SCANS:
                key = key[:1]
                found = self.scans.get(key)
            if found is None or len(found.scan.steps) != len(scan.steps) or len(found.rest.steps) != len(rest):
                found = self.scans[key] = ScanTrace(scan, len(rest))
        found.begin()
        return found


def signature(scan: Scan, rest: Sequence[Step]) -> Signature:
    """What makes a scan the same as another one."""
    steps = tuple(type(step).__name__ for step in scan.steps)
    return scan.table, scan.index, scan.primary_order, scan.descending, tuple(scan.ranges), steps, len(rest)


def place(stream: Any) -> Hashable:
    """What makes a stream (or an array) the same as another one of the same query."""
    source = getattr(stream, "source", None)
    if source is None:
        return "array"
    grouping = None if stream.grouping is None else tuple(type(step).__name__ for step in stream.group_steps)
    steps = tuple(type(step).__name__ for step in stream.steps)
    return type(source).__name__, source.about, tuple(map(place, source.inputs)), steps, grouping
