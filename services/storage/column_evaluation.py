"""Evaluating a plan over a table's columns, a few blocks in a turn of the loop."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

from photondb.api.storage import KeyRange
from photondb.datum.json import loads_stored
from photondb.reql.vector_aggregates import ChosenRows, Summary
from photondb.reql.vector_plan import VectorPlan
from photondb.reql.vectors import Columns, Texts, Unsuited
from services.storage.block_summaries import ODD_BLOCK, OddBlock
from services.storage.column_blocks import Block, Snapshot
from services.storage.columns import GiveWay, TableColumns
from services.storage.rocks import Store
from services.storage.views import View

TURN_S = 0.002
"""How long blocks are evaluated before others get their turn. A block takes a few milliseconds at most."""


async def evaluated(
    store: Store,
    columns: TableColumns,
    plan: VectorPlan,
    ranges: Sequence[KeyRange],
    document_prefix: bytes,
    give_way: GiveWay,
) -> Any:
    """The partial aggregate of the rows in some ranges of keys as of now. Raises Unsuited, StoreError."""
    snapshot = await columns.caught_up(give_way)
    view = View(store)
    try:
        query = plan.key, tuple((wanted.low, wanted.high) for wanted in ranges)
        partial = columns.summaries.result(query)
        if partial is None:
            partial = await _folded(columns, snapshot, plan, ranges, query, view, give_way)
        if isinstance(partial, ChosenRows):
            keys = [document_prefix + key for key in snapshot.keys(partial.positions)]
            partial = [loads_stored(document) for document in view.documents(keys) if document is not None]
            assert len(partial) == len(keys), "the columns have a document that the store has not"
        return partial
    finally:
        view.close()


async def _folded(
    columns: TableColumns,
    snapshot: Snapshot,
    plan: VectorPlan,
    ranges: Sequence[KeyRange],
    query: Any,
    view: View,
    give_way: GiveWay,
) -> Any:
    texts = Texts(snapshot.strings)
    numbers = [(name, number) for number, name in enumerate(snapshot.fields) if name in plan.fields]
    folding = plan.start(texts)
    summaries = columns.summaries
    summaries.use(plan.key)
    turn_end = perf_counter() + TURN_S
    for wanted in ranges:
        for block, first in snapshot.parts(wanted):
            summary = summaries.get(block, plan.key)
            if summary is None:
                summary = _summary(plan, block, numbers, texts)
                if not texts.has_own:
                    summaries.keep(block, plan.key, summary)
            if isinstance(summary, OddBlock):
                raise Unsuited
            folding.take(summary, first)
            if perf_counter() > turn_end:
                view.pin()
                await give_way()
                turn_end = perf_counter() + TURN_S
    partial = folding.partial()
    if not texts.has_own and columns.snapshot is snapshot:
        summaries.keep_result(query, partial, folding.held)
    return partial


def _summary(plan: VectorPlan, block: Block, numbers: Sequence[tuple[str, int]], texts: Texts) -> Summary | OddBlock:
    # As views, so that it can be told what of a summary takes memory of its own.
    vectors = {name: block.fields[number].view() for name, number in numbers}
    try:
        return plan.summary(Columns(vectors, len(block.keys), texts))
    except Unsuited:
        return ODD_BLOCK
