"""Changes of the catalogue where there are several storage nodes: home makes them, and all others follow."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from photondb.api.catalogue import Catalogue, CatalogueChange, SplitTable
from photondb.api.context import CallContext
from photondb.reql.errors import ReqlError, op_failed
from photondb.sharding.placement import HOME
from photondb.sharding.reachability import NOT_REACHED, reach_all
from photondb.sharding.suite import Suite

log = logging.getLogger(__name__)

REACH_TIMEOUT_MS = 5_000
"""How long a change of the catalogue waits for a node that cannot be reached."""


class CatalogueChanges:
    """Has a suite's nodes change the catalogue together."""

    def __init__(self, suite: Suite, reach_timeout_ms: int) -> None:
        self._suite = suite
        self._reach_timeout_ms = reach_timeout_ms

    async def carry_out(self, context: CallContext, change: CatalogueChange) -> Catalogue:
        """Make a change while all nodes are there, and tell them. Raises ReqlError; then nothing was changed."""
        suite = self._suite
        await self._reach_all(context)
        if isinstance(change, SplitTable):
            change = await self._with_points(context, change)
        catalogue = await suite.home.ask(lambda api: api.change_catalogue(context, change))
        suite.placement.learn(catalogue)
        adopted = await asyncio.gather(
            *(node.ask(lambda api: api.adopt_catalogue(context, catalogue)) for node in suite.nodes[HOME + 1 :]),
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
        try:
            await reach_all(self._suite, context, self._reach_timeout_ms)
        except NOT_REACHED as error:
            raise op_failed(
                f"{error.message} Databases, tables and indexes can be changed only while all storage nodes can be "
                "reached. Nothing was changed."
            ) from None

    async def _with_points(self, context: CallContext, change: SplitTable) -> SplitTable:
        """The division of a table with its split points, where home has not the documents that these follow from."""
        catalogue = await self._suite.catalogue(context)
        info = catalogue.tables.get((change.database, change.name))
        if info is None or info.is_spread or info.nodes[0] == HOME or change.points is not None:
            return change
        if change.shards is not None and len(catalogue.usable_nodes) > 1:
            return change  # then its shards are parts
        points = await split_points(self._suite, context, info.id, change.shards)
        return msgspec.structs.replace(change, points=points)


async def split_points(suite: Suite, context: CallContext, table: int, shards: int | None) -> tuple[bytes, ...]:
    """The split points for so many shards of a table on a single node, from that node. Raises ReqlError, TableGone."""
    info = await suite.info(table)
    if info.is_spread:
        raise op_failed("A table that is spread over storage nodes has no split points.")
    return await suite.node(info.nodes[0]).ask(lambda api: api.split_points(context, table, shards))
