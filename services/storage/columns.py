"""Fields of all documents of a table as columns in memory, kept exact.

A commit notes the keys of the documents that it has changed, which is all that a write costs. Before the columns are
used they are brought up to date: the changed documents are read, and the blocks of rows that they belong to are made
anew (`services.storage.column_blocks`), a few in a turn of the loop.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence

from photondb.reql.column_reader import ColumnReader
from photondb.reql.vectors import Strings, Unsuited
from services.storage.block_summaries import BlockSummaries
from services.storage.column_blocks import BLOCK_ROWS, Block, Keys, Snapshot, empty, joined
from services.storage.rocks import Store
from services.storage.tables import Table

CATCH_UP_KEYS = 256
CATCH_UP_BLOCKS = 16
"""How many changed documents are looked at, and how many blocks made anew, before others get their turn."""

MAX_CATCH_UP_TURNS = 100
"""After so many turns the rest is done in one go, lest it never ends where much is written."""

READ_AT_A_TIME = 16
"""How many changed documents are in memory at a time: they may be long."""

MIN_CHANGED = 4096
MAX_CHANGED_PART = 8
MAX_CHANGED = 1 << 18
"""Columns are given up when more documents have changed than the first of these, and more than one in so many of the
table; or more than the last."""

BYTES_PER_CHANGE = 130
"""About what a changed key takes until it is caught up with."""

MIN_STRINGS = 4096
MAX_STRINGS_PART = 4
MAX_STRINGS = 1 << 18
"""Columns hold at most so many different strings, or one for so many documents, but not more than the last of these;
those beyond are left to scans."""

SUMMARY_PART = 4
MIN_SUMMARY_BYTES = 1 << 20
"""What queries came to in blocks may take one in so many bytes of what the blocks take, or the second of these."""

GiveWay = Callable[[], Awaitable[None]]
Row = Sequence[tuple[int, float]]


class TableColumns:
    """The columns of one table. They are made from documents that are added in the order of their keys, as of the
    moment when the object is made, and follow the table from that moment on."""

    def __init__(self, store: Store, table: Table, fields: Sequence[str]) -> None:
        self._store = store
        self._table = table
        rows = table.position.rows
        self._reader = ColumnReader(fields, Strings(min(max(MIN_STRINGS, rows // MAX_STRINGS_PART), MAX_STRINGS)))
        self.fields = self._reader.fields
        self._pieces: list[Block] = []
        """What has been added and is to become the next block."""
        self._piece_rows = 0
        self._blocks: list[Block] = []
        self._firsts: list[bytes] = []
        """The first key of each block."""
        self._block_bytes = 0
        self.snapshot: Snapshot | None = None
        """The blocks as they were when they were last used, unless some have changed since."""
        self.summaries = BlockSummaries()
        self._changed: set[bytes] = set()
        self._catching_up = asyncio.Lock()
        self._closed = False
        table.watchers = (*table.watchers, self._changed)

    def close(self) -> None:
        """Follow the table no longer."""
        self._closed = True
        self._table.watchers = tuple(one for one in self._table.watchers if one is not self._changed)

    @property
    def size(self) -> int:
        """About how much memory the columns take, also while they are being made."""
        changes = len(self._changed) * BYTES_PER_CHANGE
        return self._block_bytes + self._reader.strings.bytes + changes + self.summaries.size

    def trim_summaries(self, room: int) -> None:
        """Let go of summaries beyond a part of what the columns take themselves, and beyond `room` bytes."""
        self.summaries.trim(min(room, max(MIN_SUMMARY_BYTES, self._block_bytes // SUMMARY_PART)))

    @property
    def outrun(self) -> bool:
        """Whether so much has changed that the columns had better be made anew."""
        most = min(max(MIN_CHANGED, self._table.position.rows // MAX_CHANGED_PART), MAX_CHANGED)
        return len(self._changed) > most

    # --- making them

    def add(self, keys: Sequence[bytes], documents: Sequence[bytes]) -> None:
        """Add documents, in the order of their primary keys."""
        if not keys:
            return
        piece = Block(Keys.of(keys), self._reader.read(documents))
        self._pieces.append(piece)
        self._piece_rows += len(keys)
        self._block_bytes += piece.size
        if self._piece_rows >= BLOCK_ROWS:
            self.finish()

    def finish(self) -> None:
        """All documents have been added."""
        if not self._pieces:
            return
        block = joined(self._pieces)
        self._block_bytes += block.size - sum(piece.size for piece in self._pieces)
        self._blocks.append(block)
        self._firsts.append(block.keys[0])
        self.summaries.replace(None, [block])
        self._pieces.clear()
        self._piece_rows = 0

    # --- keeping them up

    async def caught_up(self, give_way: GiveWay) -> Snapshot:
        """The columns as of now: nothing has been written since when this returns. Raises StoreError, and Unsuited when
        they have been given up."""
        turns = 0
        async with self._catching_up:
            while self._changed:
                keys = sorted(self._changed.pop() for _ in range(min(CATCH_UP_KEYS, len(self._changed))))
                try:
                    while keys:
                        for _ in range(CATCH_UP_BLOCKS):
                            if keys:
                                self._take_in_next(keys)
                        if (keys or self._changed) and turns < MAX_CATCH_UP_TURNS:
                            await give_way()
                            turns += 1
                finally:
                    self._changed.update(keys)
                if self._closed:
                    raise Unsuited
            if self._closed:
                raise Unsuited
            if self.snapshot is None:
                self.snapshot = Snapshot(self.fields, self._blocks, self._reader.strings)
            return self.snapshot

    def _take_in_next(self, keys: list[bytes]) -> None:
        """Make the block anew that the last of some keys, which are in order, belongs to. Its keys leave `keys`."""
        number = max(bisect_right(self._firsts, keys[-1]) - 1, 0)
        low = self._firsts[number] if number else b""
        start = len(keys)
        while start and keys[start - 1] >= low:
            start -= 1
        block = self._blocks[number] if self._blocks else empty(len(self.fields))
        changed = block.changed(self._rows_of(keys[start:]))
        rows = len(changed.keys)
        half = rows // 2
        parts = [changed] if rows else []
        if rows > 2 * BLOCK_ROWS:
            parts = [changed.part(0, half), changed.part(half, rows)]
        self._blocks[number : number + 1] = parts
        self._firsts[number : number + 1] = [part.keys[0] for part in parts]
        self._block_bytes += sum(part.size for part in parts) - block.size
        self.summaries.replace(block, parts)
        self.snapshot = None
        del keys[start:]

    def _rows_of(self, keys: Sequence[bytes]) -> dict[bytes, Row | None]:
        """The present values of documents by their primary keys, None where there is none."""
        prefix = self._table.document_prefix
        found: dict[bytes, Row | None] = dict.fromkeys(keys)
        for start in range(0, len(keys), READ_AT_A_TIME):
            some = keys[start : start + READ_AT_A_TIME]
            documents = self._store.documents.read([prefix + key for key in some])
            there = [(key, document) for key, document in zip(some, documents, strict=True) if document is not None]
            vectors = self._reader.read([document for _, document in there])
            columns = [vector.spread(len(there)) for vector in vectors]
            pairs = [zip(kinds.tolist(), values.tolist(), strict=True) for kinds, values in columns]
            found.update(zip([key for key, _ in there], zip(*pairs, strict=True), strict=True))
        return found
