"""A process that writes as fast as it can until it is killed, and says on standard output what was acknowledged.

Each call of a writer inserts a group of documents and counts it, in one commit. A line ``writer count`` means that the
call was answered. A line ``ready`` says that the writing begins. Meanwhile indexes and tables are made and dropped,
money is moved between accounts by transactions, backups are made, and change logs are trimmed.

Arguments: the data directory, a new directory for backups, and optionally a point of `tests.chaos.crash_points` with
the number of times that it is passed before the process dies there.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import sys
import uuid
from pathlib import Path

import orjson

from photondb.api.catalogue import CreateIndex, CreateTable, DropIndex, DropTable, TableInfo
from photondb.api.context import INTERNAL, CallContext
from photondb.api.storage import Write, WriteSummary
from photondb.bus import LocalBus
from photondb.datum.keys import primary_key
from services.storage.backup import back_up
from services.storage.service import Storage
from services.storage.trimmer import LogTrimmer
from tests.chaos.crash_points import die_at
from tests.storage.language import constant, term

WRITERS = 8
GROUP = 3


ACCOUNTS = 10
MONEY = 100


async def main(path: Path, backups: Path) -> None:
    storage = Storage(path, LocalBus())
    await storage.start()
    catalogue = await storage.catalogue(INTERNAL)
    if ("test", "groups") not in catalogue.tables:
        await storage.change_catalogue(INTERNAL, CreateTable("test", "counters"))
        await storage.change_catalogue(INTERNAL, CreateIndex("test", "counters", "n", term(lambda row: row["n"])))
        await storage.change_catalogue(INTERNAL, CreateTable("test", "groups"))
    if ("test", "accounts") not in catalogue.tables:
        await storage.change_catalogue(INTERNAL, CreateTable("test", "accounts"))
    catalogue = await storage.catalogue(INTERNAL)
    accounts = catalogue.tables["test", "accounts"]
    await storage.write(
        INTERNAL, [Write(accounts.id, "insert", documents=[{"id": n, "money": MONEY} for n in range(ACCOUNTS)])]
    )
    counters, groups = catalogue.tables["test", "counters"], catalogue.tables["test", "groups"]
    os.write(1, b"ready\n")
    async with asyncio.TaskGroup() as tasks:
        for writer in range(WRITERS):
            tasks.create_task(write(storage, counters, groups, writer))
        tasks.create_task(change_catalogue(storage))
        tasks.create_task(transfer(storage, accounts))
        tasks.create_task(make_backups(storage, backups))
        tasks.create_task(trim(storage, [counters, groups]))


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
        by_length = CreateIndex("test", "groups", "length", term(lambda row: row["text"]), include=("text",))
        await storage.change_catalogue(INTERNAL, by_length)
        catalogue = await storage.change_catalogue(INTERNAL, CreateTable("test", "passing"))
        passing = catalogue.tables["test", "passing"].id
        await storage.write(INTERNAL, [Write(passing, "insert", documents=[{"id": n} for n in range(50)])])
        # Of few documents, so that it gets ready.
        await storage.change_catalogue(INTERNAL, CreateIndex("test", "passing", "n", term(lambda row: row["id"])))
        await asyncio.sleep(0.05)
        await storage.change_catalogue(INTERNAL, DropTable("test", "passing"))
        await storage.change_catalogue(INTERNAL, DropIndex("test", "groups", "length"))


async def transfer(storage: Storage, accounts: TableInfo) -> None:
    """Move money from one account to another, over and over."""
    while True:
        context = CallContext(transaction=str(uuid.uuid4()))
        await storage.begin_transaction(context, context.transaction, "serializable", False, 10_000)
        keys = [primary_key(number) for number in random.sample(range(ACCOUNTS), 2)]
        raws = await storage.get(context, [(accounts.id, key) for key in keys])
        for key, raw, amount in zip(keys, raws, (-1, 1), strict=True):
            assert raw is not None
            money = orjson.loads(raw)["money"] + amount
            await storage.write(
                context, [Write(accounts.id, "update", keys=[key], function=constant({"money": money}))]
            )
        await storage.commit_transaction(context, context.transaction)


async def make_backups(storage: Storage, directory: Path) -> None:
    """Make a full backup and incremental ones, over and over."""
    loop = asyncio.get_running_loop()

    def checkpoint() -> Path:
        return Path(asyncio.run_coroutine_threadsafe(storage.checkpoint(INTERNAL), loop).result())

    base = None
    for number in itertools.count():
        target = directory / f"{number}"
        await asyncio.to_thread(back_up, checkpoint, target, base, lambda step, total: lambda done: None)
        base = target if number % 3 != 2 else None
        await asyncio.sleep(0.02)


async def trim(storage: Storage, tables: list[TableInfo]) -> None:
    """Trim change logs while they are written. They keep what incremental backups go on from."""
    trimmer = LogTrimmer(storage._store, storage._tables, max_bytes=4 << 20, min_records=100)
    while True:
        await asyncio.sleep(0.05)
        for table in tables:
            trimmer.trim(storage._tables[table.id])


if __name__ == "__main__":
    if len(sys.argv) > 3:
        die_at(sys.argv[3], int(sys.argv[4]))
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
