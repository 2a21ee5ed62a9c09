"""A process that writes as fast as it can until it is killed, and says on standard output what was acknowledged.

Each call of a writer inserts a group of documents and counts it, in one commit. A line ``writer count`` means that the
call was answered. A line ``ready`` says that the writing begins.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from photondb.api.catalogue import CreateIndex, CreateTable, DropIndex, DropTable, TableInfo
from photondb.api.context import INTERNAL
from photondb.api.storage import Write, WriteSummary
from photondb.bus import LocalBus
from photondb.datum.keys import primary_key
from services.storage.service import Storage
from tests.storage.language import constant, term

WRITERS = 8
GROUP = 3


async def main(path: Path) -> None:
    storage = Storage(path, LocalBus())
    await storage.start()
    catalogue = await storage.catalogue(INTERNAL)
    if ("test", "groups") not in catalogue.tables:
        await storage.change_catalogue(INTERNAL, CreateTable("test", "counters"))
        await storage.change_catalogue(INTERNAL, CreateIndex("test", "counters", "n", term(lambda row: row["n"])))
        catalogue = await storage.change_catalogue(INTERNAL, CreateTable("test", "groups"))
    counters, groups = catalogue.tables["test", "counters"], catalogue.tables["test", "groups"]
    os.write(1, b"ready\n")
    async with asyncio.TaskGroup() as tasks:
        for writer in range(WRITERS):
            tasks.create_task(write(storage, counters, groups, writer))
        tasks.create_task(change_catalogue(storage))


async def write(storage: Storage, counters: TableInfo, groups: TableInfo, writer: int) -> None:
    (raw,) = await storage.get(INTERNAL, [(counters.id, primary_key(writer))])
    if raw is None:
        await storage.write(INTERNAL, [Write(counters.id, "insert", documents=[{"id": writer, "n": 0}])])
    count = 0 if raw is None else int(raw.partition(b'"n":')[2].rstrip(b"}"))
    while True:
        count += 1
        documents = [{"id": [writer, count, member], "text": "x" * (count % 300)} for member in range(GROUP)]
        # Every third call changes its documents, too, every fourth deletes those of a while ago.
        statements = [
            Write(groups.id, "insert", documents=documents, durability="hard" if count % 5 else "soft"),
            Write(counters.id, "update", keys=[primary_key(writer)], function=constant({"n": count})),
        ]
        keys = [primary_key([writer, count, member]) for member in range(GROUP)]
        if count % 3 == 0:
            statements.append(Write(groups.id, "update", keys=keys, function=constant({"changed": True})))
        if count % 4 == 0:
            old = [primary_key([writer, count - 2, member]) for member in range(GROUP)]
            statements.append(Write(groups.id, "delete", keys=old))
        results = await storage.write(INTERNAL, statements)
        assert all(isinstance(result, WriteSummary) and not result.errors for result in results), results
        os.write(1, b"%d %d\n" % (writer, count))


async def change_catalogue(storage: Storage) -> None:
    """Make and drop an index and a table, over and over: the kill may hit at any point of it."""
    catalogue = await storage.catalogue(INTERNAL)
    if catalogue.tables["test", "groups"].index("length") is not None:
        await storage.change_catalogue(INTERNAL, DropIndex("test", "groups", "length"))
    if ("test", "passing") in catalogue.tables:
        await storage.change_catalogue(INTERNAL, DropTable("test", "passing"))
    while True:
        by_length = CreateIndex("test", "groups", "length", term(lambda row: row["text"]))
        await storage.change_catalogue(INTERNAL, by_length)
        catalogue = await storage.change_catalogue(INTERNAL, CreateTable("test", "passing"))
        passing = catalogue.tables["test", "passing"].id
        await storage.write(INTERNAL, [Write(passing, "insert", documents=[{"id": n} for n in range(50)])])
        await asyncio.sleep(0.05)
        await storage.change_catalogue(INTERNAL, DropTable("test", "passing"))
        await storage.change_catalogue(INTERNAL, DropIndex("test", "groups", "length"))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
