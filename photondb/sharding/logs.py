"""The change logs of tables: each part has one, and so has each part that a table had before it was divided anew."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence

from photondb.api.catalogue import EndedLog, TableInfo
from photondb.api.context import CallContext
from photondb.api.storage import LogGap, LogRecord, StorageApi, TableGone
from photondb.api.storage_status import Positions
from photondb.sharding.nodes import gathered
from photondb.sharding.placement import HOME
from photondb.sharding.suite import Suite


class Logs:
    """The change logs of a suite's tables, by the numbers that `TableInfo` gives them."""

    def __init__(self, suite: Suite) -> None:
        self._suite = suite

    async def read(self, context: CallContext, table: int, shard: int, after: int, limit: int) -> list[LogRecord]:
        """Up to `limit` records after a sequence number. Raises LogGap, TableGone, ReqlError."""
        while True:
            info = await self._suite.info(table)
            if shard < len(info.ended):
                return await self._read_ended(context, info.ended[shard], after, limit)
            if after < info.log_start(shard):
                raise LogGap(info.log_start(shard) + 1)
            try:
                return await self._read_present(context, info, shard, after, limit)
            except TableGone:
                if not await self._suite.have_moved((info.id,)):
                    raise

    async def _read_present(
        self, context: CallContext, info: TableInfo, shard: int, after: int, limit: int
    ) -> list[LogRecord]:
        node = self._suite.node(info.nodes[shard - len(info.ended)])
        return await node.ask(lambda api: api.read_log(context, info.id, shard, after, limit))

    async def _read_ended(self, context: CallContext, ended: EndedLog, after: int, limit: int) -> list[LogRecord]:
        """Records of a part that a table had. Raises LogGap where they are not kept any more."""
        if after >= ended.end:
            return []
        if ended.kept:
            with contextlib.suppress(TableGone):
                return await self._suite.node(ended.node).ask(
                    lambda api: api.read_log(context, ended.table, 0, after, limit)
                )
        raise LogGap(ended.end + 1)

    async def ends(self, context: CallContext, table: int) -> list[int]:
        """The last sequence number of each log."""
        while True:
            ended = (await self._suite.info(table)).ended
            parts = await self._suite.ask_parts(table, lambda api, id: api.log_position(context, id))
            if ended is (await self._suite.info(table)).ended:
                return [*(one.end for one in ended), *(position for part in parts for position in part)]

    async def positions(self, context: CallContext, tables: Sequence[int]) -> Positions:
        """The catalogue's version, and for each table the last sequence numbers of its present parts."""
        while True:
            try:
                return await self._positions(context, tables)
            except TableGone:
                if not await self._suite.have_moved(map(self._suite.placement.present, tables)):
                    raise

    async def _positions(self, context: CallContext, tables: Sequence[int]) -> Positions:
        infos = [await self._suite.info(table) for table in tables]
        wanted: dict[int, list[int]] = {HOME: []}
        for info in infos:
            for number in info.nodes:
                wanted.setdefault(number, []).append(info.id)
        found = await gathered(
            [self._suite.node(number).ask(_asking_positions(context, of_node)) for number, of_node in wanted.items()]
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


def _asking_positions(context: CallContext, tables: Sequence[int]) -> Callable[[StorageApi], Awaitable[Positions]]:
    return lambda api: api.positions(context, tables)
