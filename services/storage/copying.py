"""How home fills a copy of a table that is divided anew, while the table is used.

A copy is filled by a scan of each part of the table, some documents at a time, and by following the parts' change logs
from where these stood before the scan. A record says how a document is after a change, so it makes no difference which
of both comes first, once all records are through. For the same reason another attempt may go on from how far an earlier
one was at some time, whatever that has done since, if three things are so:

- Nothing is filled that its node could lose: what was read from a node is on its disk before it is written elsewhere.
- How far an attempt is counts once what it has filled is on the disks of the copy's nodes, and home has noted it.
- When an attempt begins, what is still under way of an earlier one is refused from then on, by all nodes of the copy.
"""

from __future__ import annotations

import asyncio
import operator
import time
from collections.abc import Mapping, Sequence

import msgspec

from photondb.api.catalogue import TableInfo
from photondb.api.context import INTERNAL, CallContext
from photondb.api.storage import KeyRange, Scan
from photondb.sharding.nodes import Node, gathered
from photondb.sharding.placement import part_of
from services.storage.catalog_state import CopyProgress
from services.storage.live_catalogue import LiveCatalogue

STEP_ROWS = 1000
STEP_BYTES = 1 << 20
"""How much is copied in one go."""

STEP_RECORDS = 1000
"""How many records of a change log are carried over in one go."""

NOTE_EVERY_S = 1.0
"""How often it is noted how far a copy is filled."""

CALL_TIMEOUT_S = 30.0
"""How long a call of a node may take."""


class LostProgress(Exception):
    """A node does not have what it had when it was noted: its data is older."""


class Copier:
    """One attempt to fill the copy with the id `copy`. `nodes` are all storage nodes by their numbers."""

    def __init__(self, live: LiveCatalogue, nodes: Sequence[Node], copy: int, attempt: int) -> None:
        self._live = live
        self._nodes = nodes
        self._copy = copy
        self._attempt = attempt
        self._lows: list[bytes | None] = []
        self.positions: list[int] = []
        """For each part of the table up to which record its log is carried over."""
        self.documents = 0
        """How many documents of the table were copied, in earlier attempts, too."""
        self.total = 0
        """How many there were to copy when this attempt began."""
        self.written_documents = self.written_bytes = 0
        """How many documents this attempt has written to the copy, and their bytes: also those that had changed."""
        self.is_unsure = False
        """Whether nobody knows what has become of something that was to be filled: then the attempt must end."""
        self._noted_at = 0.0

    @property
    def has_begun(self) -> bool:
        """Whether it is known from where on to copy."""
        return bool(self._lows)

    async def begin(self, info: TableInfo, copy: TableInfo) -> bool:
        """Find out from where on to copy. Returns whether that is where an earlier attempt was. Raises LostProgress."""
        await gathered([self._fill_on(node, [], []) for node in copy.nodes])  # now earlier ones are refused everywhere
        stats = await gathered(
            [self._nodes[node].ask(lambda api: api.table_stats(call_context(), info.id)) for node in info.nodes]
        )
        self.total = sum(part.rows for part in stats)
        noted = self._live.progress(self._copy)
        positions, filled = await self._last_records(info), await self._last_records(copy)
        if noted is None:
            await gathered([self._sync(node, info) for node in info.nodes])
            noted = CopyProgress((b"",) * len(info.nodes), positions, filled)
            self._live.note_progress(self._copy, self._attempt, noted)
            await self._live.sync()  # what is filled from now on must not be taken for an empty copy
        if any(map(operator.lt, (*positions, *filled), (*noted.positions, *noted.filled))):
            raise LostProgress
        self.positions, self._lows, self.documents = list(noted.positions), list(noted.lows), noted.documents
        self._noted_at = time.monotonic()
        return noted.documents > 0

    async def copy_everything(self, info: TableInfo, copy: TableInfo) -> None:
        """Copy what is not copied yet."""
        while any(low is not None for low in self._lows):
            for part, low in enumerate(self._lows):
                if low is not None:
                    started = time.perf_counter()
                    await self._copy_some(info, copy, part, low)
                    await asyncio.sleep((time.perf_counter() - started) / 2)  # others come first
            await self.follow(info, copy)
            if time.monotonic() >= self._noted_at + NOTE_EVERY_S:
                await self.note(copy)

    async def note(self, copy: TableInfo) -> None:
        """Have everything that was filled on the disks, and note how far that is."""
        filled = await self._last_records(copy)
        progress = CopyProgress(tuple(self._lows), tuple(self.positions), filled, self.documents)
        await gathered([self._sync(node, copy) for node in copy.nodes])
        self._live.note_progress(self._copy, self._attempt, progress)
        self._noted_at = time.monotonic()

    async def follow(self, info: TableInfo, copy: TableInfo) -> int:
        """Carry over the next records of all parts, and return how many these were. Raises LogGap."""
        return sum(await gathered([self._follow_part(info, copy, part) for part in range(len(info.nodes))]))

    async def _copy_some(self, info: TableInfo, copy: TableInfo, part: int, low: bytes) -> None:
        scan = Scan(
            table=info.id,
            ranges=(KeyRange(low),),
            limit=STEP_ROWS,
            chunk_rows=STEP_ROWS,
            chunk_bytes=STEP_BYTES,
            keyed=True,
        )
        node = info.nodes[part]
        reply = await self._nodes[node].ask(lambda api: api.scan(call_context(), scan))
        assert reply.chunk is not None
        rows, keys = list(reply.chunk.rows()), reply.chunk.keys or []
        if reply.cursor is not None:
            await reply.cursor.close()
        await self._sync(node, info)
        await self._fill(copy, dict(zip(keys, rows, strict=True)))
        self.documents += len(rows)
        is_last = reply.cursor is None and len(rows) < STEP_ROWS
        self._lows[part] = None if is_last else keys[-1] + b"\0"

    async def _follow_part(self, info: TableInfo, copy: TableInfo, part: int) -> int:
        node, number, after = info.nodes[part], len(info.ended) + part, self.positions[part]
        records = await self._nodes[node].ask(
            lambda api: api.read_log(call_context(), info.id, number, after, STEP_RECORDS)
        )
        if records:
            await self._sync(node, info)
            await self._fill(copy, {record.key: record.new for record in records})
            self.positions[part] = records[-1].sequence
        return len(records)

    async def _last_records(self, table: TableInfo) -> tuple[int, ...]:
        """The last record of each part of a table."""
        found = await gathered(
            [self._nodes[node].ask(lambda api: api.log_position(call_context(), table.id)) for node in table.nodes]
        )
        return tuple(position for (position,) in found)

    async def _fill(self, copy: TableInfo, documents: Mapping[bytes, bytes | None]) -> None:
        divided: dict[int, tuple[list[bytes], list[bytes | None]]] = {}
        for key, document in documents.items():
            keys, values = divided.setdefault(copy.nodes[part_of(key, len(copy.nodes))], ([], []))
            keys.append(key)
            values.append(document)
        self.is_unsure = True
        await gathered([self._fill_on(node, *of_node) for node, of_node in divided.items()])
        self.is_unsure = False
        self.written_documents += len(documents)
        self.written_bytes += sum(len(document) for document in documents.values() if document is not None)

    async def _fill_on(self, node: int, keys: list[bytes], values: list[bytes | None]) -> None:
        await self._nodes[node].ask(lambda api: api.fill(call_context(), self._copy, self._attempt, keys, values))

    async def _sync(self, node: int, table: TableInfo) -> None:
        await self._nodes[node].ask(lambda api: api.sync(call_context(), table.id))


def call_context() -> CallContext:
    """The context of a call that is not one of a pause."""
    return msgspec.structs.replace(INTERNAL, deadline=time.monotonic() + CALL_TIMEOUT_S)
