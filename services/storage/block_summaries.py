"""What aggregates came to in blocks of columns, kept for as long as these blocks are there.

A block never changes, so what a plan made of it (`photondb.reql.vector_aggregates.Summary`) is right for ever: after a
write only the blocks that it has made anew are evaluated again. Where nothing was written at all, the result is there.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

from photondb.reql.vector_aggregates import Summary
from services.storage.column_blocks import Block

SUMMARY_BYTES = 300
"""What a summary takes besides its arrays."""

RESULT_ITEM_BYTES = 200
"""What each group or value in a result takes, about."""


class OddBlock:
    """In the place of a summary: the plan cannot be carried out over the block."""

    size = 0


ODD_BLOCK = OddBlock()


class _Result(NamedTuple):
    value: Any
    bytes: int


class BlockSummaries:
    """Summaries of one table's blocks, by the keys of plans. What was not used for the longest time leaves first."""

    def __init__(self) -> None:
        self._of_blocks: dict[int, dict[Hashable, Summary | OddBlock]] = {}
        self._plans: dict[Hashable, None] = {}  # what was used last is at the end
        self._results: dict[Hashable, _Result] = {}
        self.size = 0
        """About how much memory all of it takes."""

    def replace(self, old: Block | None, new: Sequence[Block]) -> None:
        """Blocks have come, perhaps in the place of another one."""
        if old is not None:
            for summary in self._of_blocks.pop(old.number, {}).values():
                self.size -= SUMMARY_BYTES + summary.size
        for block in new:
            self._of_blocks[block.number] = {}
        self._forget_results()

    def use(self, plan: Hashable) -> None:
        """A plan is being carried out."""
        self._plans.pop(plan, None)
        self._plans[plan] = None

    def get(self, block: Block, plan: Hashable) -> Summary | OddBlock | None:
        """What a plan came to in a block, if it is known."""
        known = self._of_blocks.get(block.number)
        return None if known is None else known.get(plan)

    def keep(self, block: Block, plan: Hashable, summary: Summary | OddBlock) -> None:
        """Remember what a plan in use came to in a block, if that is a block of the table, and still there."""
        known = self._of_blocks.get(block.number)
        if known is not None and plan in self._plans and plan not in known:
            known[plan] = summary
            self.size += SUMMARY_BYTES + summary.size

    def result(self, query: Hashable) -> Any:
        """What a query has come to since the blocks were last changed, if that is known."""
        found = self._results.get(query)
        return None if found is None else found.value

    def keep_result(self, query: Hashable, value: Any, items: int) -> None:
        """Remember what a query, of all blocks as they are now, has come to: so many groups, values or rows."""
        if query not in self._results:
            size = SUMMARY_BYTES + items * RESULT_ITEM_BYTES
            self._results[query] = _Result(value, size)
            self.size += size

    def trim(self, max_bytes: int) -> None:
        """Let go of what is beyond so much memory."""
        if self.size > max_bytes:
            self._forget_results()
        while self.size > max_bytes and self._plans:
            oldest = next(iter(self._plans))
            del self._plans[oldest]
            for known in self._of_blocks.values():
                summary = known.pop(oldest, None)
                if summary is not None:
                    self.size -= SUMMARY_BYTES + summary.size

    def _forget_results(self) -> None:
        if self._results:
            self.size -= sum(result.bytes for result in self._results.values())
            self._results.clear()
