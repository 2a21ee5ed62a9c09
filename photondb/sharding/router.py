"""The storage nodes of a suite as one storage: for who asks, there is no difference.

What concerns one node goes to it as it came. What concerns several is asked of all of them at the same time.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import TypeVar

import msgspec

from photondb.api.catalogue import Catalogue, CatalogueChange, EndedLog, SplitTable, TableInfo
from photondb.api.context import INTERNAL, CallContext
from photondb.api.storage import (
    EngineStats,
    IndexStatus,
    LogGap,
    LogRecord,
    PausedPart,
    Positions,
    Scan,
    ScanReply,
    StorageApi,
    TableGone,
    TableStatistics,
    TableStats,
    Write,
    WriteSummary,
)
from photondb.api.transactions import Isolation, TransactionInfo
from photondb.reql.errors import ReqlError, op_failed
from photondb.rpc.errors import DeadlineExceeded, ServiceUnavailable
from photondb.sharding import statistics
from photondb.sharding.nodes import Ask, Node, gathered
from photondb.sharding.placement import HOME, Placement
from photondb.sharding.scans import parts_of_scan, scan_parts
from photondb.sharding.transactions import NodeTransactions
from photondb.sharding.writes import Outcome, Piece, combined, divide, node_of_write, traced_alone

log = logging.getLogger(__name__)

T = TypeVar("T")

REACH_TIMEOUT_MS = 5_000
"""How long a change of the catalogue waits for a node that cannot be reached."""


ANSWER_TIMEOUT_MS = 1_000
"""Where the state of nodes is asked for, one that has not answered after this time counts as not being there."""

NOT_REACHED = (ServiceUnavailable, DeadlineExceeded)


class Router(StorageApi):
    """Several storage nodes by their numbers, the first of which is home; implements StorageApi."""

    def __init__(self, nodes: Sequence[StorageApi], reach_timeout_ms: int = REACH_TIMEOUT_MS) -> None:
        home = nodes[HOME]
        self._nodes = [Node(number, api, None if number == HOME else home) for number, api in enumerate(nodes)]
        self._home = self._nodes[HOME]
        self._placement = Placement()
        self._transactions = NodeTransactions(self._nodes)
        self._reach_timeout_ms = reach_timeout_ms

    # --- where things are

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return len(self._nodes)

    def node_of_key(self, table: int, key: bytes) -> int:
        """The node of a document, so that who has many to read can ask node by node; home for a table that is not known
        here yet."""
        return self._placement.node_of(table, key) if self._placement.knows(table) else HOME

    def node_of_write(self, write: Write) -> int | None:
        """The same for a statement on one document; None for one on several, which `write` must divide."""
        return node_of_write(write, self._placement.info(write.table)) if self._placement.knows(write.table) else None

    async def _info(self, table: int) -> TableInfo:
        """The table with that id. Raises TableGone."""
        if not self._placement.knows(table):
            await self.catalogue(INTERNAL)
        return self._placement.info(table)

    async def _ask_parts(self, table: int, ask: Callable[[StorageApi, int], Awaitable[T]]) -> list[T]:
        """The answers of the nodes of a table, which are told its id, part by part. Raises TableGone."""
        while True:
            info = await self._info(table)
            of_node: Ask[T] = functools.partial(_asking, ask, info.id)
            try:
                return await gathered([self._node(number).ask(of_node) for number in info.nodes])
            except TableGone:
                if not await self._have_moved((info.id,)):
                    raise

    async def _have_moved(self, tables: Iterable[int]) -> bool:
        """Whether any of these tables, which a node does not know (any more), has another id now."""
        await self.catalogue(INTERNAL)
        return any(table in self._placement.moved for table in tables)

    async def _ask_all(self, ask: Ask[T]) -> list[T]:
        return await gathered([node.ask(ask) for node in self._nodes])

    def _node(self, number: int) -> Node:
        if number >= len(self._nodes):
            raise op_failed(
                f"The table is on storage node {number}, and only {len(self._nodes)} nodes are known here: "
                "PHOTONDB_STORAGE_ADDRESSES must name all of them."
            )
        return self._nodes[number]

    async def _use(self, context: CallContext, nodes: Collection[int]) -> None:
        if context.transaction:
            await self._transactions.use(context, nodes)

    # --- the catalogue

    async def catalogue(self, context: CallContext) -> Catalogue:
        catalogue = await self._home.ask(lambda api: api.catalogue(context))
        self._placement.learn(catalogue)
        return catalogue

    async def change_catalogue(self, context: CallContext, change: CatalogueChange) -> Catalogue:
        await self._reach_all(context)
        if isinstance(change, SplitTable):
            change = await self._with_points(context, change)
        catalogue = await self._home.ask(lambda api: api.change_catalogue(context, change))
        self._placement.learn(catalogue)
        adopted = await asyncio.gather(
            *(node.ask(lambda api: api.adopt_catalogue(context, catalogue)) for node in self._nodes[HOME + 1 :]),
            return_exceptions=True,
        )
        for number, outcome in enumerate(adopted, HOME + 1):
            if isinstance(outcome, ReqlError):  # the change is made; the node will follow before it serves again
                log.warning(
                    "a storage node has not followed a change of the catalogue",
                    extra={"node": number, "reason": outcome.message},
                )
            elif isinstance(outcome, BaseException):
                raise outcome
        return catalogue

    async def _reach_all(self, context: CallContext) -> None:
        """Raise where a node does not answer: nothing is changed that not all can follow."""
        soon = _until(context, self._reach_timeout_ms)
        try:
            await self._ask_all(lambda api: api.positions(soon, ()))
        except NOT_REACHED as error:
            raise op_failed(
                f"{error.message} Databases, tables and indexes can be changed only while all storage nodes can be "
                "reached. Nothing was changed."
            ) from None

    async def _with_points(self, context: CallContext, change: SplitTable) -> SplitTable:
        """The division of a table with its split points, where home has not the documents that these follow from."""
        catalogue = await self.catalogue(context)
        info = catalogue.tables.get((change.database, change.name))
        if info is None or info.is_spread or info.nodes[0] == HOME or change.points is not None:
            return change
        if change.shards is not None and len(catalogue.usable_nodes) > 1:
            return change  # then its shards are parts
        return msgspec.structs.replace(change, points=await self.split_points(context, info.id, change.shards))

    async def split_points(self, context: CallContext, table: int, shards: int | None) -> tuple[bytes, ...]:
        info = await self._info(table)
        if info.is_spread:
            raise op_failed("A table that is spread over storage nodes has no split points.")
        return await self._node(info.nodes[0]).ask(lambda api: api.split_points(context, table, shards))

    async def adopt_catalogue(self, context: CallContext, catalogue: Catalogue) -> None:
        raise op_failed("A catalogue is adopted by one storage node, and not by all of them at once.")

    async def index_status(self, context: CallContext, table: int) -> list[IndexStatus]:
        return statistics.status_of_indexes(await self._ask_parts(table, lambda api, id: api.index_status(context, id)))

    async def reach(self, number: int) -> None:
        """Return when a node has answered. Raises ServiceUnavailable or DeadlineExceeded, which name it, where it does
        not do so within ANSWER_TIMEOUT_MS."""
        soon = _until(INTERNAL, ANSWER_TIMEOUT_MS)
        await self._node(number).ask(lambda api: api.positions(soon, ()))

    async def unreachable(self) -> frozenset[int]:
        """The numbers of the nodes that do not answer within ANSWER_TIMEOUT_MS."""
        numbers = range(len(self._nodes))
        found = await asyncio.gather(*(self.reach(number) for number in numbers), return_exceptions=True)
        for outcome in found:
            if isinstance(outcome, BaseException) and not isinstance(outcome, NOT_REACHED):
                raise outcome
        return frozenset(number for number, outcome in zip(numbers, found, strict=True) if outcome is not None)

    # --- documents

    async def fill(
        self, context: CallContext, table: int, keys: Sequence[bytes], documents: Sequence[bytes | None]
    ) -> None:
        raise _one_by_one()

    async def pause_writes(
        self, context: CallContext, table: int, pause: int, timeout_ms: int, after_us: int
    ) -> PausedPart:
        raise _one_by_one()

    async def resume_writes(self, context: CallContext, table: int, pause: int) -> None:
        raise _one_by_one()

    async def get(self, context: CallContext, keys: Sequence[tuple[int, bytes]]) -> list[bytes | None]:
        while True:
            moved = self._placement.moved
            if moved:
                keys = [(moved.get(table, table), key) for table, key in keys]
            try:
                return await self._get(context, keys)
            except TableGone:
                if not await self._have_moved({table for table, _ in keys}):
                    raise

    async def _get(self, context: CallContext, keys: Sequence[tuple[int, bytes]]) -> list[bytes | None]:
        placement = self._placement
        if not all(placement.knows(table) for table, _ in keys):
            await self.catalogue(INTERNAL)
        divided = placement.divide(keys)
        await self._use(context, divided)
        if len(divided) <= 1:
            number = next(iter(divided), HOME)
            return await self._node(number).ask(lambda api: api.get(context, keys))
        documents: list[bytes | None] = [None] * len(keys)
        found = await gathered(
            [
                self._node(number).ask(_getting(context, [keys[position] for position in positions]))
                for number, positions in divided.items()
            ]
        )
        for positions, of_node in zip(divided.values(), found, strict=True):
            for position, document in zip(positions, of_node, strict=True):
                documents[position] = document
        return documents

    async def get_from(
        self, number: int, context: CallContext, keys: Sequence[tuple[int, bytes]]
    ) -> list[bytes | None]:
        """`get` for documents that are on this node, as `node_of_key` says, in no transaction."""
        return await self._node(number).ask(lambda api: api.get(context, keys))

    async def write_to(
        self, number: int, context: CallContext, writes: Sequence[Write]
    ) -> list[WriteSummary | Exception]:
        """`write` for statements on documents of this node, as `node_of_write` says, in no transaction."""
        outcomes = await self._node(number).ask(lambda api: api.write(context, writes))
        gone = [position for position, outcome in enumerate(outcomes) if isinstance(outcome, TableGone)]
        if gone:
            again = await self.write(context, [writes[position] for position in gone])
            for position, outcome in zip(gone, again, strict=True):
                outcomes[position] = outcome
        return outcomes

    async def write(self, context: CallContext, writes: Sequence[Write]) -> list[WriteSummary | Exception]:
        if self._placement.moved:
            writes = [self._present(write) for write in writes]
        outcomes: list[Outcome | None] = [None] * len(writes)
        divided: dict[int, list[tuple[int, Piece]]] = {}
        """By node, the pieces that it gets, with the positions of their statements."""
        infos: dict[int, TableInfo] = {}
        for position, write in enumerate(writes):
            try:
                info = infos[position] = await self._info(write.table)
            except TableGone as gone:
                outcomes[position] = gone
                continue
            for piece in divide(write, info):
                divided.setdefault(piece.node, []).append((position, piece))
        await self._use(context, divided)
        of_nodes = await gathered([self._write_pieces(context, number, of_node) for number, of_node in divided.items()])
        pieces: dict[int, list[tuple[Piece, Outcome]]] = {}
        for of_node in of_nodes:
            for position, piece, outcome in of_node:
                pieces.setdefault(position, []).append((piece, outcome))
        await self._write_moved(context, pieces)
        for position, done in pieces.items():
            outcomes[position] = combined(writes[position], infos[position], done)
        return [TableGone() if outcome is None else outcome for outcome in outcomes]

    def _present(self, write: Write) -> Write:
        """A statement, with the id that its table has now."""
        present = self._placement.present(write.table)
        return write if present == write.table else msgspec.structs.replace(write, table=present)

    async def _write_moved(self, context: CallContext, pieces: dict[int, list[tuple[Piece, Outcome]]]) -> None:
        """Carry out the pieces that found their table moved where it is now. Nothing of them was done."""
        gone = [
            (of_statement, number, piece)
            for of_statement in pieces.values()
            for number, (piece, outcome) in enumerate(of_statement)
            if isinstance(outcome, TableGone)
        ]
        if not gone or not await self._have_moved({piece.write.table for _, _, piece in gone}):
            return
        outcomes = await self.write(context, [piece.write for _, _, piece in gone])
        for (of_statement, number, piece), outcome in zip(gone, outcomes, strict=True):
            of_statement[number] = piece, outcome

    async def _write_pieces(
        self, context: CallContext, number: int, pieces: Sequence[tuple[int, Piece]]
    ) -> list[tuple[int, Piece, Outcome]]:
        """What becomes of the pieces that a node gets. Its failure is that of each of them, save in a transaction,
        which it has ended."""
        writes = [piece.write for _, piece in pieces]
        try:
            outcomes = await self._write_on(context, number, writes)
        except ReqlError as error:
            if context.transaction:
                raise
            outcomes = [error] * len(pieces)
        return [(position, piece, outcome) for (position, piece), outcome in zip(pieces, outcomes, strict=True)]

    async def _write_on(self, context: CallContext, number: int, writes: Sequence[Write]) -> list[Outcome]:
        """Have a node carry out statements; those on tables that it had not heard of once more when it has."""
        node = self._node(number)
        traced, writes = traced_alone(context, writes)
        outcomes = await node.ask(lambda api: api.write(traced, writes))
        gone = [position for position, outcome in enumerate(outcomes) if isinstance(outcome, TableGone)]
        if gone and number != HOME:
            await node.bring_up_to_date(self._home.api)
            again = await node.ask(lambda api: api.write(traced, [writes[position] for position in gone]))
            for position, outcome in zip(gone, again, strict=True):
                outcomes[position] = outcome
        return outcomes

    async def scan(self, context: CallContext, scan: Scan) -> ScanReply:
        while True:
            info = await self._info(scan.table)
            if info.id != scan.table:
                scan = msgspec.structs.replace(scan, table=info.id)
            try:
                return await self._scan(context, scan, info)
            except TableGone:
                if not await self._have_moved((info.id,)):
                    raise

    async def _scan(self, context: CallContext, scan: Scan, info: TableInfo) -> ScanReply:
        parts = parts_of_scan(scan, info)
        await self._use(context, parts)
        if len(parts) == 1:
            ((number, ranges),) = parts.items()
            if ranges is not scan.ranges:
                scan = msgspec.structs.replace(scan, ranges=ranges)
            return await self._node(number).ask(lambda api: api.scan(context, scan))
        asked = [(self._node(number), ranges) for number, ranges in parts.items()]
        return await scan_parts(context, scan, info, asked)

    async def sync(self, context: CallContext, table: int) -> None:
        await self._ask_parts(table, lambda api, id: api.sync(context, id))

    # --- the change log: a part is a shard of it, and so is each part that the table had before it was divided anew

    async def read_log(self, context: CallContext, table: int, shard: int, after: int, limit: int) -> list[LogRecord]:
        while True:
            info = await self._info(table)
            if shard < len(info.ended):
                return await self._read_ended(context, info.ended[shard], after, limit)
            if after < info.log_start(shard):
                raise LogGap(info.log_start(shard) + 1)
            try:
                return await self._read_present(context, info, shard, after, limit)
            except TableGone:
                if not await self._have_moved((info.id,)):
                    raise

    async def _read_present(
        self, context: CallContext, info: TableInfo, shard: int, after: int, limit: int
    ) -> list[LogRecord]:
        node = self._node(info.nodes[shard - len(info.ended)])
        return await node.ask(lambda api: api.read_log(context, info.id, shard, after, limit))

    async def _read_ended(self, context: CallContext, ended: EndedLog, after: int, limit: int) -> list[LogRecord]:
        """Records of a part that a table had. Raises LogGap where they are not kept any more."""
        if after >= ended.end:
            return []
        if ended.kept:
            with contextlib.suppress(TableGone):
                return await self._node(ended.node).ask(lambda api: api.read_log(context, ended.table, 0, after, limit))
        raise LogGap(ended.end + 1)

    async def log_position(self, context: CallContext, table: int) -> list[int]:
        while True:
            ended = (await self._info(table)).ended
            parts = await self._ask_parts(table, lambda api, id: api.log_position(context, id))
            if ended is (await self._info(table)).ended:
                return [*(one.end for one in ended), *(position for part in parts for position in part)]

    async def positions(self, context: CallContext, tables: Sequence[int]) -> Positions:
        while True:
            try:
                return await self._positions(context, tables)
            except TableGone:
                if not await self._have_moved(map(self._placement.present, tables)):
                    raise

    async def _positions(self, context: CallContext, tables: Sequence[int]) -> Positions:
        infos = [await self._info(table) for table in tables]
        wanted: dict[int, list[int]] = {HOME: []}
        for info in infos:
            for number in info.nodes:
                wanted.setdefault(number, []).append(info.id)
        found = await gathered(
            [self._node(number).ask(_positions(context, of_node)) for number, of_node in wanted.items()]
        )
        sequences = {
            (number, table): sequence
            for (number, of_node), positions in zip(wanted.items(), found, strict=True)
            for table, sequence in zip(of_node, positions.tables, strict=True)
        }
        return Positions(
            found[0].catalogue,
            tuple(tuple(one for number in info.nodes for one in sequences[number, info.id]) for info in infos),
        )

    # --- estimates, and the state of the nodes

    async def table_stats(self, context: CallContext, table: int) -> TableStats:
        return statistics.sum_of_stats(await self._ask_parts(table, lambda api, id: api.table_stats(context, id)))

    async def shard_rows(self, context: CallContext, table: int) -> list[int]:
        parts = await self._ask_parts(table, lambda api, id: api.shard_rows(context, id))
        return parts[0] if len(parts) == 1 else [sum(rows) for rows in parts]

    async def statistics(self, context: CallContext, table: int) -> TableStatistics:
        parts = await self._ask_parts(table, lambda api, id: api.statistics(context, id))
        return parts[0] if len(parts) == 1 else statistics.statistics_of_table(parts)

    async def engine_stats(self, context: CallContext) -> EngineStats:
        return statistics.sum_of_engines(await self.engine_stats_of_nodes(context))

    async def engine_stats_of_nodes(self, context: CallContext) -> list[EngineStats]:
        """The state of each node's store."""
        return await self._ask_all(lambda api: api.engine_stats(context))

    async def checkpoint(self, context: CallContext) -> str:
        raise op_failed("Each storage node has data of its own: ask them one by one for copies.")

    # --- transactions

    async def begin_transaction(
        self, context: CallContext, id: str, isolation: Isolation, read_only: bool, timeout_ms: int
    ) -> TransactionInfo:
        return await self._transactions.begin(context, id, isolation, read_only, timeout_ms)

    async def commit_transaction(self, context: CallContext, id: str) -> TransactionInfo:
        return await self._transactions.commit(context, id)

    async def abort_transaction(self, context: CallContext, id: str, reason: str = "") -> TransactionInfo:
        return await self._transactions.abort(context, id, reason)

    async def transactions(self, context: CallContext, id: str = "") -> list[TransactionInfo]:
        return await self._transactions.visible(context, id)


async def _asking(ask: Callable[[StorageApi, int], Awaitable[T]], table: int, api: StorageApi) -> T:
    return await ask(api, table)


def _one_by_one() -> ReqlError:
    return op_failed("Tables are divided anew by one storage node, which asks the others one by one.")


def _getting(
    context: CallContext, keys: Sequence[tuple[int, bytes]]
) -> Callable[[StorageApi], Awaitable[list[bytes | None]]]:
    return lambda api: api.get(context, keys)


def _until(context: CallContext, timeout_ms: int) -> CallContext:
    """The context of calls that must not take longer than that."""
    latest = time.monotonic() + timeout_ms / 1000
    return msgspec.structs.replace(context, deadline=min(context.deadline or latest, latest))


def _positions(context: CallContext, tables: Sequence[int]) -> Callable[[StorageApi], Awaitable[Positions]]:
    return lambda api: api.positions(context, tables)
