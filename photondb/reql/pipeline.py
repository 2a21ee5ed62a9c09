"""The part of a query that runs over raw documents: steps, then rows or an aggregate, decoding only what is looked at.

This is what storage runs next to the data. Rows that are only filtered leave as the raw JSON that they came as.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import msgspec

from photondb.datum.json import loads_stored
from photondb.datum.size import check_size
from photondb.reql.accumulators import Accumulator, Aggregate, KeyedAccumulator, WeighedAccumulator
from photondb.reql.aggregates import aggregate_from_wire
from photondb.reql.block_columns import MIN_ROWS, BlockFolding
from photondb.reql.chunk import EMPTY, Chunk, joined
from photondb.reql.errors import ReqlError
from photondb.reql.measures import ScanMeasures
from photondb.reql.steps import Fields, FilterStep, Step, apply_keyed, steps_from_wire, steps_to_wire
from photondb.reql.vectors import Unsuited

__all__ = ["Aggregate", "Chunk", "Pipeline", "Step", "aggregate_from_wire", "steps_from_wire", "steps_to_wire"]

Decode = Callable[[bytes], Any]


@functools.lru_cache(maxsize=1024)
def field_decoder(fields: Fields) -> Decode:
    """A decoder that takes only these top-level fields out of a JSON object, several times faster than all of it."""
    record = typing.TypedDict("Row", dict.fromkeys(sorted(fields), Any), total=False)  # type: ignore[misc]
    return msgspec.json.Decoder(record).decode


class Pipeline:
    """Feeds raw documents through steps, into chunks or an aggregate.

    `limit` ends it after that many resulting rows: then `done` is true. `measures` are told what each step does.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        aggregate: Aggregate | None = None,
        limit: int | None = None,
        measures: ScanMeasures | None = None,
    ) -> None:
        self.steps = tuple(steps)
        self.measures = measures
        self.aggregate = aggregate
        self.accumulator: Accumulator | None = None if aggregate is None else aggregate.start()
        self.chooser: KeyedAccumulator | None = (
            self.accumulator if isinstance(self.accumulator, KeyedAccumulator) else None
        )
        self.remaining = limit
        self.filters_only = all(isinstance(step, FilterStep) for step in self.steps)
        self.needed = self._needed_fields()
        self.decode = loads_stored if self.needed is None else field_decoder(self.needed)
        self._weighed: WeighedAccumulator | None = None
        self._begun = False
        self._columns: BlockFolding | None = None
        """What takes documents in instead of the accumulator, as long as they are plain."""

    @property
    def done(self) -> bool:
        """Whether the limit is reached."""
        return self.remaining is not None and self.remaining <= 0

    @property
    def looks_at(self) -> Fields | None:
        """The fields of documents that what comes out depends on; None when it may be whole documents."""
        leave_raw = self.filters_only and (self.accumulator is None or self.chooser is not None)
        return None if leave_raw else self.needed

    def _needed_fields(self) -> Fields | None:
        """The fields that must be decoded; None for whole documents."""
        fields: frozenset[str] = frozenset()
        for step in self.steps:
            if step.fields is None:
                return None
            fields |= step.fields
            if step.replaces_rows:
                return fields
        if self.chooser is not None:
            wanted = self.chooser.key_fields
        else:
            wanted = frozenset() if self.aggregate is None else self.aggregate.fields
        return None if wanted is None else fields | wanted

    def feed(self, rows: Sequence[bytes], keys: Sequence[bytes] | None = None) -> Chunk | None:
        """Take documents; gives the resulting rows, or None when they go into the aggregate. `keys` are the places of
        the documents, where the rows are wanted with theirs."""
        if not self._begun:
            self._begun = True
            self._columns = self._as_columns(len(rows))
        if self._columns is not None:
            try:
                self._columns.feed(rows)
            except Unsuited:
                self._leave_columns()
            else:
                return None
        try:
            return self._feed(rows, keys)
        except ReqlError:
            if self.remaining is not None and len(rows) > 1:
                return self._one_by_one(rows, keys)
            if self.needed is not None:
                self._explain(rows)
            raise
        except msgspec.DecodeError:
            self.needed, self.decode = None, loads_stored  # let the whole decoder say what is wrong
            return self._feed(rows, keys)

    def _as_columns(self, rows: int) -> BlockFolding | None:
        """What takes documents in as columns, where that is worth it and can be done."""
        if self.aggregate is None or rows < MIN_ROWS or self.measures is not None or self.remaining is not None:
            return None
        if not self.needed:
            return None
        try:
            return BlockFolding(self.steps, self.aggregate)
        except Unsuited:
            return None

    def _leave_columns(self) -> None:
        """Go on with single documents from what has been taken in as columns."""
        columns, self._columns = self._columns, None
        assert columns is not None
        assert self.accumulator is not None
        self.accumulator.merge(columns.partial())

    def _feed(self, rows: Sequence[bytes], keys: Sequence[bytes] | None) -> Chunk | None:
        if not self.steps:
            return self._whole(rows, keys)
        if self.filters_only and (self.accumulator is None or self.chooser is not None):
            return self._filter_raw(rows, keys)
        values = list(map(self.decode, rows))
        if keys is not None:
            values, keys = self._apply_keyed(values, keys)
        elif self.measures is None:
            for step in self.steps:
                values = step.apply(values)
        else:
            values = self._apply_measured(values, self.measures)
        if self.accumulator is not None:
            self.accumulator.feed(values)
            return None
        if self.remaining is not None:
            values = values[: self.remaining]
            self.remaining -= len(values)
        chunk = Chunk.of_values(values)
        if keys is not None:
            chunk.keys = keys[: len(values)]
        return chunk

    def _apply_keyed(self, values: list[Any], keys: Sequence[bytes]) -> tuple[list[Any], Sequence[bytes]]:
        """The rows that the steps make of values, and for each the key of the document that it comes from."""
        for position, step in enumerate(self.steps):
            began = 0.0 if self.measures is None else perf_counter()
            values, keys = apply_keyed(step, values, keys)
            if self.measures is not None:
                self.measures.note(position, len(values), perf_counter() - began)
        return values, keys

    def _apply_measured(self, values: list[Any], measures: ScanMeasures) -> list[Any]:
        for position, step in enumerate(self.steps):
            began = perf_counter()
            values = step.apply(values)
            measures.note(position, len(values), perf_counter() - began)
        return values

    def _one_by_one(self, rows: Sequence[bytes], keys: Sequence[bytes] | None) -> Chunk:
        """The same where something fails for one of the documents: those before it may be all that is wanted."""
        chunks = []
        for position, row in enumerate(rows):
            chunk = self.feed((row,), None if keys is None else (keys[position],))
            assert chunk is not None
            chunks.append(chunk)
            if self.done:
                break
        return joined(chunks, self.filters_only)

    def _whole(self, rows: Sequence[bytes], keys: Sequence[bytes] | None) -> Chunk | None:
        accumulator = self.accumulator
        if accumulator is None:
            if self.remaining is not None:
                rows = rows[: self.remaining]
                self.remaining -= len(rows)
            chunk = Chunk.of_raw(rows)
            if keys is not None:
                chunk.keys = keys[: len(rows)]
            return chunk
        if self.chooser is not None:
            self.chooser.feed_keyed(self.chooser.keys_of(list(map(self.decode, rows))), rows)
        elif self.needed is not None and not self.needed:
            accumulator.feed(rows)  # only their number matters
        else:
            accumulator.feed(list(map(self.decode, rows)))
        return None

    def _filter_raw(self, rows: Sequence[bytes], keys: Sequence[bytes] | None) -> Chunk | None:
        kept: Sequence[Any] = rows if keys is None else list(zip(rows, keys, strict=True))
        values: list[Any] = list(map(self.decode, rows))
        for position, step in enumerate(self.steps):
            assert isinstance(step, FilterStep)
            began = 0.0 if self.measures is None else perf_counter()
            kept, values = step.select(kept, values)
            if self.measures is not None:
                self.measures.note(position, len(kept), perf_counter() - began)
        if self.chooser is not None:
            self.chooser.feed_keyed(self.chooser.keys_of(values), kept)
            return None
        if self.remaining is not None:
            kept = kept[: self.remaining]
            self.remaining -= len(kept)
        if not kept or keys is None:
            return Chunk.of_raw(kept) if kept else EMPTY
        chunk = Chunk.of_raw([row for row, _ in kept])
        chunk.keys = [key for _, key in kept]
        return chunk

    def _explain(self, rows: Sequence[bytes]) -> None:
        """Do the same with whole documents, so that an error message can show them."""
        values = list(map(loads_stored, rows))
        for step in self.steps:
            values = step.apply(values)
        if self.aggregate is not None:
            self.aggregate.start().feed(values)

    def begin_aggregate(self) -> None:
        """Fold what comes from now on by itself."""
        assert self.aggregate is not None
        self.accumulator = self.aggregate.start()
        self.chooser = self.accumulator if isinstance(self.accumulator, KeyedAccumulator) else None
        self._weighed = self.accumulator if isinstance(self.accumulator, WeighedAccumulator) else None
        self._begun = False

    @property
    def weight(self) -> int:
        """About how many bytes of memory the aggregate takes, if its partial result can be divided; else 0."""
        if self._weighed is None:
            return 0
        return self._weighed.weight if self._columns is None else self._columns.weight

    def partial(self) -> Any:
        """The aggregate's partial result, as a JSON value."""
        assert self.accumulator is not None
        if self._columns is not None:
            self._leave_columns()
        partial = self.accumulator.partial()
        if self.chooser is not None:
            return [loads_stored(row) if type(row) is bytes else row for row in partial]
        check_size(partial)
        return partial
