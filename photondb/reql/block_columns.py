"""Aggregates over documents that are read from the disk, block by block as columns: half of the work of looking at each
document by itself. The columns of a block are thrown away with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from photondb.reql.accumulators import Aggregate
from photondb.reql.column_reader import ColumnReader, can_be_columns
from photondb.reql.steps import Step
from photondb.reql.vector_plan import VectorPlan
from photondb.reql.vectors import Columns, Strings, Texts, Unsuited

MIN_ROWS = 256
"""Of fewer documents it is not worth making columns."""

HELD_BYTES = 600
"""What a group or a value takes here, about, and in the partial result that is made of it."""

MAX_STRINGS = 4096
"""How many different strings there may be: they are remembered from block to block."""


class BlockFolding:
    """An aggregate of blocks of documents. It is good until something is not plain, in the query or in a document: who
    has fed it before goes on from its `partial` result with documents, and comes to the same, to the last digit."""

    def __init__(self, steps: Sequence[Step], aggregate: Aggregate) -> None:
        """Raises Unsuited."""
        self._plan = VectorPlan(steps, aggregate)
        if self._plan.chooses_rows or not self._plan.fields or not can_be_columns(self._plan.fields):
            raise Unsuited
        strings = Strings(MAX_STRINGS)
        self._reader = ColumnReader(sorted(self._plan.fields), strings)
        self._texts = Texts(strings)
        self._folding = self._plan.start(self._texts)

    def feed(self, documents: Sequence[bytes]) -> None:
        """Take documents. Raises Unsuited: then none of these was taken."""
        try:
            vectors = self._reader.read(documents)
        except msgspec.DecodeError:
            raise Unsuited from None
        columns = Columns(dict(zip(self._reader.fields, vectors, strict=True)), len(documents), self._texts)
        self._folding.take(self._plan.summary(columns), 0)

    @property
    def weight(self) -> int:
        """About how many bytes of memory the aggregate takes."""
        return self._folding.held * HELD_BYTES

    def partial(self) -> Any:
        """The partial result of the aggregate so far."""
        return self._folding.partial()
