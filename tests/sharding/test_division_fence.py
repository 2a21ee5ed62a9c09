"""Nobody reads what is older than what was written, also where a node has not heard that a table has moved."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

from photondb.api.catalogue import SplitTable
from photondb.api.context import INTERNAL
from photondb.api.storage import StorageApi
from photondb.datum.keys import primary_key
from photondb.rpc.errors import ServiceUnavailable
from photondb.sharding.placement import part_of
from photondb.sharding.router import Router
from services.storage.options import DEFAULT_OPTIONS
from tests.rpc.probe import rpc_test
from tests.sharding.suite import Nodes, SpreadTable, running_nodes
from tests.storage.language import constant


class Line:
    """A node as another one reaches it, until the line between them is cut, or as soon as `cut_after` was called."""

    def __init__(self, api: StorageApi, cut: asyncio.Event, cut_after: str = "") -> None:
        self._api = api
        self._cut = cut
        self._cut_after = cut_after
        self.mended = False

    def __getattr__(self, name: str) -> Any:
        called = getattr(self._api, name)

        async def call(*arguments: Any) -> Any:
            if self._cut.is_set() and not self.mended:
                raise ServiceUnavailable("The line is cut.")
            answer = await called(*arguments)
            if name == self._cut_after:
                self._cut.set()
            return answer

        return call


class CutNodes(Nodes):
    """Nodes of which the last one and home lose each other as soon as reads of the last one's part are paused."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.cut = asyncio.Event()
        self.lines: list[Line] = []

    def home_of(self, number: int) -> StorageApi:
        return self._line(self.apis[0]) if number == self.count - 1 else self.apis[0]

    def cut_soon(self) -> None:
        """Let home reach the last node by a line that will be cut."""
        self.others[-1] = self._line(self.others[-1], "pause_reads")

    def mend(self) -> None:
        """Let them find each other again."""
        for line in self.lines:
            line.mended = True

    def _line(self, api: StorageApi, cut_after: str = "") -> StorageApi:
        line = Line(api, self.cut, cut_after)
        self.lines.append(line)
        return cast("StorageApi", line)


@rpc_test
async def test_a_node_that_has_not_heard_that_a_table_moved_answers_no_reads(tmp_path: Path) -> None:
    async with running_nodes(tmp_path, 2, options=DEFAULT_OPTIONS, kind=CutNodes) as nodes:
        assert isinstance(nodes, CutNodes)
        table = await nodes.table("t", 2)
        await table.insert(*({"id": number, "v": 1} for number in range(100)))
        (key, *_) = [number for number in range(100) if part_of(primary_key(number), 2) == 1]
        old = Router(nodes.apis)
        await old.catalogue(INTERNAL)
        nodes.cut_soon()
        await nodes.change(SplitTable("test", "t", 1))
        async with asyncio.timeout(60):
            while (catalogue := await nodes.apis[0].catalogue(INTERNAL)).copies:
                await asyncio.sleep(0.01)
            assert nodes.cut.is_set()
            new = SpreadTable(Router(nodes.apis), catalogue.tables["test", "t"])
            await new.storage.catalogue(INTERNAL)
            summary = await new.write("update", keys=[key], function=constant({"v": 2}))
            assert summary.replaced == 1
            await new.insert({"id": 100, "v": 2})
            behind = SpreadTable(old, table.info)
            reads = [
                asyncio.create_task(read)
                for read in (behind.get(key), behind.rows(), old.table_stats(INTERNAL, table.info.id))
            ]
            while not nodes.storages[1]._pauses.unread:  # it is so since before the switch
                await asyncio.sleep(0.01)
            nodes.mend()
            document, rows, stats = await asyncio.gather(*reads)
        assert document == {"id": key, "v": 2}
        assert sorted(row["id"] for row in rows) == list(range(101))
        assert stats.rows == 101
