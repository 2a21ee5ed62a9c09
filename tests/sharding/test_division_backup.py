"""A backup that is made while a table is divided anew: its nodes are of different moments, and the table is whole."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from photondb.api.catalogue import SplitTable
from photondb.api.context import INTERNAL
from photondb.api.storage import StorageApi
from services.storage import copying
from services.storage.backup import back_up
from services.storage.restore import restore
from tests.rpc.probe import rpc_test
from tests.sharding.suite import Nodes, SpreadTable, running_nodes
from tests.storage.language import constant

ROWS = 400


class Gate:
    """A node as home reaches it, which lets only so many calls fill it."""

    def __init__(self, api: StorageApi, calls: int) -> None:
        self._api = api
        self._left = asyncio.Semaphore(calls)
        self.waiting = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._api, name)

    async def fill(self, *arguments: Any) -> None:
        if self._left.locked():
            self.waiting.set()
        await self._left.acquire()
        await self._api.fill(*arguments)

    async def let(self, calls: int) -> None:
        """Let so many more, and return when they have come."""
        self.waiting.clear()
        for _ in range(calls):
            self._left.release()
        await self.waiting.wait()


async def save(nodes: Nodes, number: int, to: Path) -> None:
    """Back a node up."""
    checkpoint = Path(await nodes.apis[number].checkpoint(INTERNAL))
    await asyncio.to_thread(back_up, lambda: checkpoint, to, None, lambda step, total: lambda done: None)


@rpc_test
async def restored_in_the_middle(path: Path) -> None:
    documents = {number: {"id": number, "v": 1} for number in range(ROWS)}
    async with running_nodes(path / "data", 3) as nodes:
        table = await nodes.table("t", 1)
        await table.insert(*documents.values())
        gate = Gate(nodes.others[0], 4)
        nodes.others[0] = cast("StorageApi", gate)
        await nodes.change(SplitTable("test", "t", 3))
        async with asyncio.timeout(60):
            await gate.waiting.wait()
            await save(nodes, 1, path / "saved-1")
            for number in range(0, ROWS, 10):  # documents of the same size, which only their records carry over
                await table.write("update", keys=[number], function=constant({"v": 2}))
                documents[number]["v"] = 2
            await gate.let(6)
        await save(nodes, 2, path / "saved-2")
        await save(nodes, 0, path / "saved-0")
    for number in range(3):
        saved, target = [path / f"saved-{number}"], path / "restored" / f"storage-{number}"
        await asyncio.to_thread(restore, saved, target, None, lambda step, total: lambda done: None)
    async with running_nodes(path / "restored", 3) as nodes:
        async with asyncio.timeout(60):
            while (catalogue := await nodes.router.catalogue(INTERNAL)).copies:
                await asyncio.sleep(0.01)
        restored = SpreadTable(nodes.router, catalogue.tables["test", "t"])
        assert len(restored.info.nodes) == 3
        assert await restored.rows() == list(documents.values())


def test_a_backup_in_the_middle_of_a_division(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "STEP_ROWS", 20)
    monkeypatch.setattr(copying, "NOTE_EVERY_S", 0.0)
    restored_in_the_middle(tmp_path)
