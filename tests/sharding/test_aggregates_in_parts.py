"""Groups that are too many for one partial result come in parts, from each node of a table."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rethinkdb import r

from photondb.api.storage import StorageApi
from photondb.bus import LocalBus
from services.storage import scan, scanning
from tests.query.test_optimizations import ask
from tests.reql.test_fuzz import Target
from tests.sharding.suite import Nodes

ROWS = 600
TABLE = r.table("spread")


class SpreadTarget(Target):
    """A query service over three nodes, of which two are behind RPC."""

    nodes: Nodes

    async def open_storage(self, stack: contextlib.AsyncExitStack, bus: LocalBus) -> StorageApi:
        """Start the nodes."""
        self.nodes = Nodes(self._data_dir, 3, bus, remote=True)
        return await self.nodes.start(stack)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpreadTarget]:
    path: Path = tmp_path_factory.mktemp("parts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "MAX_PART_BYTES", 20_000)
        patch.setattr(scan, "AGGREGATED_BLOCK_ROWS", 32)
        running = SpreadTarget(path, True, time_s=60)
        ask(running, r.table_create("spread", shards=3))
        rows = [{"id": n, "a": n // 2, "b": n % 7} for n in range(ROWS)]
        assert ask(running, TABLE.insert(rows))["r"]["inserted"] == ROWS
        yield running
        running.stop()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (TABLE.group("a").count(), [[n, 2] for n in range(ROWS // 2)]),
        (TABLE.group("a").max("id")["id"], [[n, 2 * n + 1] for n in range(ROWS // 2)]),
        (TABLE.group("id").sum("b"), [[n, n % 7] for n in range(ROWS)]),
        (TABLE["id"].distinct(), list(range(ROWS))),
        (TABLE.order_by(r.desc("id")).limit(500)["id"], list(range(ROWS - 1, ROWS - 501, -1))),
        (TABLE.order_by("b", "id")["b"], sorted(n % 7 for n in range(ROWS))),
    ],
)
def test_parts_of_all_nodes_are_merged(target: SpreadTarget, query: Any, expected: Any) -> None:
    def parts() -> list[int]:
        return [storage._scanner.parts for storage in target.nodes.storages]

    before = parts()
    assert ask(target, query)["r"] == expected
    assert ask(target, query, stream=True)["t"] in (1, 2)
    if "order_by" not in str(query):
        assert all(now > then for now, then in zip(parts(), before, strict=True))
