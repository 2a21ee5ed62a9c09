"""Writes through the router: documents go to their nodes, and what was done is told as of one statement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from photondb.api.context import INTERNAL
from photondb.api.storage import TableGone, Write, WriteSummary
from photondb.datum.keys import primary_key
from photondb.sharding.placement import part_of
from tests.rpc.probe import rpc_test
from tests.sharding.suite import ROWS, SpreadTable, compare, layouts, pair, running_nodes
from tests.storage.language import constant, func

WRITES: list[dict[str, Any]] = [
    {"kind": "insert", "documents": [{"id": 5}, {"id": 1000, "n": 1}, {}, {"id": None}, 7]},
    {"kind": "insert", "documents": [{"id": key, "n": 9} for key in range(20)], "conflict": "replace"},
    {"kind": "insert", "documents": [{"id": key, "m": 9} for key in range(15, 25)], "conflict": "update"},
    {"kind": "insert", "documents": [{"id": 2000, "a": 1}, {"id": 2000, "a": 2}, {"id": 2001}]},
    {"kind": "update", "keys": [*range(30), ROWS], "function": constant({"n": 2})},
    {"kind": "update", "keys": list(range(30)), "function": func(lambda row: {"n": row["text"] + "!"})},
    {"kind": "update", "keys": list(range(30)), "function": func(lambda row: {"n": 1 / (row["id"] - 7)})},
    {"kind": "update", "keys": list(range(30)), "function": constant({})},
    {"kind": "replace", "keys": [4, 3000], "function": func(lambda row: row.default({"id": 3000}).merge({"x": 1}))},
    {"kind": "replace", "keys": [8, 9], "function": constant(None)},
    {"kind": "delete", "keys": [*range(100, 180), 5000, 100]},
    {"kind": "delete", "keys": []},
]


@layouts
@pytest.mark.parametrize("changes", [False, True, "always"])
@rpc_test
async def test_writes(tmp_path: Path, count: int, remote: bool, changes: Any) -> None:
    async with pair(tmp_path, count, remote, rows=200) as both:
        for number, fields in enumerate(WRITES):
            found = [await table.write(return_changes=changes, durability="soft", **fields) for table in both.tables]
            # Which of several errors is the first one is not told for documents on different nodes.
            errors = [summary.first_error for summary in found]
            assert (errors[0] is None) == (errors[1] is None)
            for summary in found:
                summary.first_error = None
            assert found[0] == found[1], number
        assert await both.spread.rows() == await both.single.rows()
        await compare(both, "n")


@layouts
@rpc_test
async def test_statements_of_one_call(tmp_path: Path, count: int, remote: bool) -> None:
    async with running_nodes(tmp_path, count, remote) as nodes:
        table = await nodes.table("t", count)
        other = await nodes.table("other", 1)
        writes = [
            Write(table.info.id, "insert", documents=[{"id": key, "n": 0} for key in range(40)]),
            Write(other.info.id, "insert", documents=[{"id": 1}]),
            Write(99, "delete", keys=[b""]),
            Write(table.info.id, "update", keys=[primary_key(key) for key in range(40)], function=constant({"n": 1})),
            Write(table.info.id, "delete", keys=[primary_key(3)]),
            Write(other.info.id, "insert", documents=[{"id": 1}]),
        ]
        found = await nodes.router.write(INTERNAL, writes)
        assert isinstance(found[2], TableGone)
        counts = [
            (summary.inserted, summary.replaced, summary.deleted, summary.errors)
            for summary in found
            if isinstance(summary, WriteSummary)
        ]
        assert counts == [(40, 0, 0, 0), (1, 0, 0, 0), (0, 40, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
        assert [row["id"] for row in await table.rows()] == [key for key in range(40) if key != 3]


async def test_each_document_is_where_it_belongs(tmp_path: Path) -> None:
    async with running_nodes(tmp_path, 3) as nodes:
        table = await nodes.table("t", 3)
        await table.insert(*({"id": key} for key in range(100)))
        for part, number in enumerate(table.info.nodes):
            here = SpreadTable(nodes.storages[number], table.info)
            rows = await here.rows()
            assert [row["id"] for row in rows] == [key for key in range(100) if part_of(primary_key(key), 3) == part]
