"""Feeds on tables that are divided anew meanwhile: they go on, and miss nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from photondb.api.catalogue import CreateIndex
from photondb.api.changefeed import Feed, FeedRequest
from photondb.api.context import INTERNAL
from photondb.api.storage import KeyRange
from services.changefeed.service import Changefeed
from tests.changefeed.conftest import Reader
from tests.rpc.probe import rpc_test
from tests.sharding.suite import SpreadTable, running_nodes
from tests.sharding.test_division import Model, divide_while_written
from tests.storage.language import term


class Copy:
    """What a strict reader of all changes makes of them."""

    def __init__(self) -> None:
        self.documents: dict[int, Any] = {}
        self.position: str | None = None
        self.changes = 0

    def apply(self, notices: list[Any]) -> None:
        """Take changes, each of which must be one of the document as it was left."""
        for notice in notices:
            self.position = notice.get("position", self.position)
            if "state" in notice:
                continue
            key = (notice["new_val"] or notice["old_val"])["id"]
            assert self.documents.get(key) == notice["old_val"], notice
            self.documents[key] = notice["new_val"]
            self.changes += 1

    @property
    def present(self) -> dict[int, Any]:
        return {key: document for key, document in self.documents.items() if document is not None}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def opened(feeds: Changefeed, table: SpreadTable, **fields: Any) -> Feed:
    fields.setdefault("ranges", (KeyRange(),))
    return await feeds.open(INTERNAL, FeedRequest(table.info.id, table.info.uuid, **fields))


@rpc_test
async def test_feeds_go_on_while_their_table_is_divided_anew(tmp_path: Path) -> None:
    async with running_nodes(tmp_path, 3, remote=True) as nodes:
        table = await nodes.table("t", 1)
        await table.index_ready(CreateIndex("test", "t", "n", term(lambda row: row["n"])))
        feeds = Changefeed(nodes.router, nodes.bus, check_interval_s=0.05)
        await feeds.start()
        whole = Reader(await opened(feeds, table))
        indexed = Reader(await opened(feeds, table, index=table.index("n")))
        first = Reader(await opened(feeds, table, limit=10, include_initial=True))
        group = Reader(await opened(feeds, table, group="g"))
        start = await opened(feeds, table, include_position=True, include_states=True)
        (state,) = (await start.next(1)).values()
        await start.close()
        late = await opened(feeds, table, include_position=True, resume=state["position"])

        model = await divide_while_written(nodes, table, (3, 2, 1, 3), writes=100)
        copies = []
        for reader in (whole, indexed, group):
            copy = Copy()
            await until(lambda reader=reader, copy=copy: _caught_up(reader, copy, model))  # type: ignore[misc]
            assert reader.error is None
            copies.append(copy)
        assert len({copy.changes for copy in copies}) == 1
        window: dict[int, Any] = {}
        expected = dict(sorted(model.documents.items())[:10])

        def shown() -> bool:
            for notice in first.notices:
                if notice.get("old_val") is not None:
                    del window[notice["old_val"]["id"]]
                if notice["new_val"] is not None:
                    window[notice["new_val"]["id"]] = notice["new_val"]
            first.notices.clear()
            return window == expected

        await until(shown)
        # A reader that stops again and again, and goes on after the position that it got last.
        copy = Copy()
        while copy.changes < copies[0].changes:
            copy.apply((await late.next(25)).values())
            await late.close()
            late = await opened(feeds, table, include_position=True, resume=copy.position)
        assert copy.present == model.documents
        for reader in (whole, indexed, first, group):
            await reader.close()
        await late.close()
        await feeds.stop()


def _caught_up(reader: Reader, copy: Copy, model: Model) -> bool:
    notices, reader.notices = reader.notices, []
    copy.apply(notices)
    return copy.present == model.documents or reader.error is not None
