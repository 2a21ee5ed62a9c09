"""The storage nodes of a suite as one storage: for who asks, there is no difference.

What concerns one node goes to it as it came. What concerns several is asked of all of them at the same time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence

import msgspec

from photondb.api.catalogue import Catalogue, CatalogueChange, TableInfo
from photondb.api.context import INTERNAL, CallContext
from photondb.api.storage import LogRecord, PausedPart, Scan, ScanReply, StorageApi, TableGone, Write, WriteSummary
from photondb.api.storage_status import DivisionStatus, EngineStats, IndexStatus, Positions, TableStatistics, TableStats
from photondb.api.transactions import Isolation, TransactionInfo
from photondb.reql.errors import ReqlError, op_failed
from photondb.sharding import statistics
from photondb.sharding.catalogue_changes import REACH_TIMEOUT_MS, CatalogueChanges, split_points
from photondb.sharding.logs import Logs
from photondb.sharding.nodes import gathered
from photondb.sharding.placement import HOME
from photondb.sharding.reachability import ANSWER_TIMEOUT_MS, reach, unreachable, until
from photondb.sharding.scans import parts_of_scan, scan_parts
from photondb.sharding.suite import Suite
from photondb.sharding.transactions import NodeTransactions
from photondb.sharding.writes import Outcome, Piece, combined, divide, node_of_write, traced_alone


class Router(StorageApi):
    """Several storage nodes by their numbers, the first of which is home; implements StorageApi."""

    def __init__(self, nodes: Sequence[StorageApi], reach_timeout_ms: int = REACH_TIMEOUT_MS) -> None:
        self._suite = Suite(nodes)
        self._placement = self._suite.placement
        self._transactions = NodeTransactions(self._suite.nodes)
        self._changes = CatalogueChanges(self._suite, reach_timeout_ms)
        self._logs = Logs(self._suite)

    # --- where things are

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return len(self._suite.nodes)

    def node_of_key(self, table: int, key: bytes) -> int:
        """The node of a document, so that who has many to read can ask node by node; home for a table that is not known
        here yet."""
        return self._placement.node_of(table, key) if self._placement.knows(table) else HOME

    def node_of_write(self, write: Write) -> int | None:
        """The same for a statement on one document; None for one on several, which `write` must divide."""
        return node_of_write(write, self._placement.info(write.table)) if self._placement.knows(write.table) else None

    async def _use(self, context: CallContext, nodes: Collection[int]) -> None:
        if context.transaction:
            await self._transactions.use(context, nodes)

    # --- the catalogue

    async def catalogue(self, context: CallContext) -> Catalogue:
        return await self._suite.catalogue(context)

    async def change_catalogue(self, context: CallContext, change: CatalogueChange) -> Catalogue:
        return await self._changes.carry_out(context, change)

    async def split_points(self, context: CallContext, table: int, shards: int | None) -> tuple[bytes, ...]:
        return await split_points(self._suite, context, table, shards)

    async def adopt_catalogue(self, context: CallContext, catalogue: Catalogue) -> None:
        raise op_failed("A catalogue is adopted by one storage node, and not by all of them at once.")

    async def index_status(self, context: CallContext, table: int) -> list[IndexStatus]:
        return statistics.status_of_indexes(
            await self._suite.ask_parts(table, lambda api, id: api.index_status(context, id))
        )

    async def reach(self, number: int) -> None:
        """Return when a node has answered. Raises ServiceUnavailable or DeadlineExceeded, which name it, where it does
        not do so soon."""
        await reach(self._suite, number)

    async def unreachable(self) -> frozenset[int]:
        """The numbers of the nodes that do not answer soon."""
        return await unreachable(self._suite)

    # --- documents

    async def fill(
        self, context: CallContext, table: int, attempt: int, keys: Sequence[bytes], documents: Sequence[bytes | None]
    ) -> None:
        raise _one_by_one()

    async def pause_writes(
        self, context: CallContext, table: int, pause: int, timeout_ms: int, after_us: int
    ) -> PausedPart:
        raise _one_by_one()

    async def pause_reads(self, context: CallContext, table: int, pause: int) -> None:
        raise _one_by_one()

    async def end_pause(self, context: CallContext, table: int, pause: int) -> None:
        raise _one_by_one()

    async def divisions(self, context: CallContext) -> list[DivisionStatus]:
        soon = until(context, ANSWER_TIMEOUT_MS)
        return await self._suite.home.ask(lambda api: api.divisions(soon))

    async def get(self, context: CallContext, keys: Sequence[tuple[int, bytes]]) -> list[bytes | None]:
        while True:
            moved = self._placement.moved
            if moved:
                keys = [(moved.get(table, table), key) for table, key in keys]
            try:
                return await self._get(context, keys)
            except TableGone:
                if not await self._suite.have_moved({table for table, _ in keys}):
                    raise

    async def _get(self, context: CallContext, keys: Sequence[tuple[int, bytes]]) -> list[bytes | None]:
        placement = self._placement
        if not all(placement.knows(table) for table, _ in keys):
            await self._suite.catalogue(INTERNAL)
        divided = placement.divide(keys)
        await self._use(context, divided)
        if len(divided) <= 1:
            number = next(iter(divided), HOME)
            return await self._suite.node(number).ask(lambda api: api.get(context, keys))
        documents: list[bytes | None] = [None] * len(keys)
        found = await gathered(
            [
                self._suite.node(number).ask(_getting(context, [keys[position] for position in positions]))
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
        return await self._suite.node(number).ask(lambda api: api.get(context, keys))

    async def write_to(
        self, number: int, context: CallContext, writes: Sequence[Write]
    ) -> list[WriteSummary | Exception]:
        """`write` for statements on documents of this node, as `node_of_write` says, in no transaction."""
        outcomes = await self._suite.node(number).ask(lambda api: api.write(context, writes))
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
                info = infos[position] = await self._suite.info(write.table)
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
        if not gone or not await self._suite.have_moved({piece.write.table for _, _, piece in gone}):
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
        node = self._suite.node(number)
        traced, writes = traced_alone(context, writes)
        outcomes = await node.ask(lambda api: api.write(traced, writes))
        gone = [position for position, outcome in enumerate(outcomes) if isinstance(outcome, TableGone)]
        if gone and number != HOME:
            await node.bring_up_to_date(self._suite.home.api)
            again = await node.ask(lambda api: api.write(traced, [writes[position] for position in gone]))
            for position, outcome in zip(gone, again, strict=True):
                outcomes[position] = outcome
        return outcomes

    async def scan(self, context: CallContext, scan: Scan) -> ScanReply:
        while True:
            info = await self._suite.info(scan.table)
            if info.id != scan.table:
                scan = msgspec.structs.replace(scan, table=info.id)
            try:
                return await self._scan(context, scan, info)
            except TableGone:
                if not await self._suite.have_moved((info.id,)):
                    raise

    async def _scan(self, context: CallContext, scan: Scan, info: TableInfo) -> ScanReply:
        parts = parts_of_scan(scan, info)
        await self._use(context, parts)
        if len(parts) == 1:
            ((number, ranges),) = parts.items()
            if ranges is not scan.ranges:
                scan = msgspec.structs.replace(scan, ranges=ranges)
            return await self._suite.node(number).ask(lambda api: api.scan(context, scan))
        asked = [(self._suite.node(number), ranges) for number, ranges in parts.items()]
        return await scan_parts(context, scan, info, asked)

    async def sync(self, context: CallContext, table: int) -> None:
        await self._suite.ask_parts(table, lambda api, id: api.sync(context, id))

    # --- the change log

    async def read_log(self, context: CallContext, table: int, shard: int, after: int, limit: int) -> list[LogRecord]:
        return await self._logs.read(context, table, shard, after, limit)

    async def log_position(self, context: CallContext, table: int) -> list[int]:
        return await self._logs.ends(context, table)

    async def positions(self, context: CallContext, tables: Sequence[int]) -> Positions:
        return await self._logs.positions(context, tables)

    # --- estimates, and the state of the nodes

    async def table_stats(self, context: CallContext, table: int) -> TableStats:
        return statistics.sum_of_stats(await self._suite.ask_parts(table, lambda api, id: api.table_stats(context, id)))

    async def shard_rows(self, context: CallContext, table: int) -> list[int]:
        parts = await self._suite.ask_parts(table, lambda api, id: api.shard_rows(context, id))
        return parts[0] if len(parts) == 1 else [sum(rows) for rows in parts]

    async def statistics(self, context: CallContext, table: int) -> TableStatistics:
        parts = await self._suite.ask_parts(table, lambda api, id: api.statistics(context, id))
        return parts[0] if len(parts) == 1 else statistics.statistics_of_table(parts)

    async def engine_stats(self, context: CallContext) -> EngineStats:
        return statistics.sum_of_engines(await self.engine_stats_of_nodes(context))

    async def engine_stats_of_nodes(self, context: CallContext) -> list[EngineStats]:
        """The state of each node's store."""
        return await self._suite.ask_all(lambda api: api.engine_stats(context))

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


def _one_by_one() -> ReqlError:
    return op_failed("Tables are divided anew by one storage node, which asks the others one by one.")


def _getting(
    context: CallContext, keys: Sequence[tuple[int, bytes]]
) -> Callable[[StorageApi], Awaitable[list[bytes | None]]]:
    return lambda api: api.get(context, keys)
