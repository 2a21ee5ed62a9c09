"""A suite's storage nodes, and what is known here of where tables are: whoever asks nodes asks them through it."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from photondb.api.catalogue import Catalogue, TableInfo
from photondb.api.context import INTERNAL, CallContext
from photondb.api.storage import StorageApi, TableGone
from photondb.reql.errors import op_failed
from photondb.sharding.nodes import Ask, Node, gathered
from photondb.sharding.placement import HOME, Placement

T = TypeVar("T")


class Suite:
    """Several storage nodes by their numbers, the first of which is home, and where tables are."""

    def __init__(self, apis: Sequence[StorageApi]) -> None:
        home = apis[HOME]
        self.nodes = [Node(number, api, None if number == HOME else home) for number, api in enumerate(apis)]
        self.home = self.nodes[HOME]
        self.placement = Placement()

    def node(self, number: int) -> Node:
        """The node with that number. Raises ReqlError where it is not known here."""
        if number >= len(self.nodes):
            raise op_failed(
                f"The table is on storage node {number}, and only {len(self.nodes)} nodes are known here: "
                "PHOTONDB_STORAGE_ADDRESSES must name all of them."
            )
        return self.nodes[number]

    async def catalogue(self, context: CallContext) -> Catalogue:
        """Home's catalogue, which is known here from then on."""
        catalogue = await self.home.ask(lambda api: api.catalogue(context))
        self.placement.learn(catalogue)
        return catalogue

    async def info(self, table: int) -> TableInfo:
        """The table that has, or had, that id. Raises TableGone."""
        if not self.placement.knows(table):
            await self.catalogue(INTERNAL)
        return self.placement.info(table)

    async def have_moved(self, tables: Iterable[int]) -> bool:
        """Whether any of these tables, which a node does not know (any more), has another id now."""
        await self.catalogue(INTERNAL)
        return any(table in self.placement.moved for table in tables)

    async def ask_all(self, ask: Ask[T]) -> list[T]:
        """The answers of all nodes."""
        return await gathered([node.ask(ask) for node in self.nodes])

    async def ask_parts(self, table: int, ask: Callable[[StorageApi, int], Awaitable[T]]) -> list[T]:
        """The answers of the nodes of a table, which are told its id, part by part. Raises TableGone."""
        while True:
            info = await self.info(table)
            of_node: Ask[T] = functools.partial(_asking, ask, info.id)
            try:
                return await gathered([self.node(number).ask(of_node) for number in info.nodes])
            except TableGone:
                if not await self.have_moved((info.id,)):
                    raise


async def _asking(ask: Callable[[StorageApi, int], Awaitable[T]], table: int, api: StorageApi) -> T:
    return await ask(api, table)
