"""Concurrent transactions, made up at random, on a real storage; everything that they see and do is recorded.

Few documents and many clients, so that they get into each other's way. In each table that a transaction changes it
leaves a receipt, a document with its name, behind its other changes: so the change log tells who made which.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import pickle
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from photondb.api.catalogue import CreateIndex, CreateTable, TableInfo
from photondb.api.context import INTERNAL, CallContext
from photondb.api.storage import KeyRange, Scan, StorageApi, WriteSummary
from photondb.api.storage import Write as WriteStatement
from photondb.api.transactions import Isolation
from photondb.datum.keys import key_range, primary_key
from photondb.reql.errors import ErrorKind, ReqlError
from tests.storage.isolation.history import Content, History, Key, Read, Transaction, Version, Write
from tests.storage.language import term

TABLES = ("left", "right")
DOCUMENTS = 4
GROUPS = 2
MAX_OPERATIONS = 5
OPERATIONS = ("get", "range", "group", "write", "change", "change")


@dataclass
class Tables:
    """The tables that histories use. Each history has documents of its own in them."""

    infos: dict[str, TableInfo]

    @classmethod
    async def make(cls, storage: StorageApi) -> Tables:
        """Make the tables, or find them."""
        catalogue = await storage.catalogue(INTERNAL)
        for name in TABLES:
            if ("test", name) not in catalogue.tables:
                await storage.change_catalogue(INTERNAL, CreateTable("test", name, durability="soft"))
                index = CreateIndex("test", name, "group", term(lambda row: row["group"]))
                catalogue = await storage.change_catalogue(INTERNAL, index)
        tables = cls({name: catalogue.tables["test", name] for name in TABLES})
        for info in tables.infos.values():
            while not all(status.ready for status in await storage.index_status(INTERNAL, info.id)):
                await asyncio.sleep(0.005)
        return tables


class Workload:
    """One history in the making. `note` is told of each transaction when it begins, when it is to be committed, and
    when it has ended, for those who must know even if they are killed."""

    def __init__(
        self,
        storage: StorageApi,
        tables: Tables,
        number: int,
        level: Isolation,
        seed: int,
        note: Callable[[Transaction], None] = lambda _: None,
    ) -> None:
        self.storage = storage
        self.tables = tables
        self.number = number
        self.level = level
        self.random = random.Random(seed)
        self.note = note
        self.history = History()
        self.durability: Any = "soft"
        self.operations: tuple[str, ...] = OPERATIONS
        self._clock = itertools.count()

    async def run(self, clients: int = 6, transactions: int = 4) -> History:
        """Run all clients to their end, and read what has come of it from the change log."""
        before = {name: await self._position(name) for name in TABLES}
        async with asyncio.TaskGroup() as group:
            for client in range(clients):
                group.create_task(self._client(client, transactions))
        begun = self.history.transactions
        self.history.versions = await versions_in_log(self.storage, self.tables, begun, self.number, before)
        return self.history

    async def _position(self, table: str) -> int:
        (position,) = await self.storage.log_position(INTERNAL, self.tables.infos[table].id)
        return position

    async def _client(self, client: int, transactions: int) -> None:
        for count in range(transactions):
            transaction = Transaction(f"{self.number}.{client}.{count}")
            self.history.transactions.append(transaction)
            if self.random.random() < 0.15:
                await self._write_plainly(transaction)
            else:
                await _Client(self, transaction).run()
            self.note(transaction)

    async def _write_plainly(self, transaction: Transaction) -> None:
        """A write outside of any transaction, which is like a transaction with nothing but it."""
        key = self.any_key()
        write = self.new_write(transaction, key, 0)
        transaction.operations.append(write)
        transaction.ending_at = self.tick()
        self.note(transaction)
        statements = [self.statement(write), self.receipt(transaction, key[0])]
        (summary, _) = await self.storage.write(INTERNAL, statements)
        if isinstance(summary, Exception):
            transaction.status = "aborted"
            return
        if summary.skipped:  # there was nothing to delete
            transaction.operations.clear()
        transaction.status = "committed"

    # --- what clients are made of

    def tick(self) -> int:
        """The next moment of the history's clock."""
        return next(self._clock)

    def any_key(self) -> Key:
        return self.random.choice(TABLES), self.random.randrange(DOCUMENTS)

    def new_write(self, transaction: Transaction, key: Key, count: int) -> Write:
        content = None if self.random.random() < 0.2 else Content(self.random.randrange(GROUPS))
        return Write(key, f"{transaction.name}/{count}", content)

    def statement(self, write: Write) -> WriteStatement:
        table, number = write.key
        info, id = self.tables.infos[table], [self.number, number]
        if write.content is None:
            return WriteStatement(info.id, "delete", keys=[primary_key(id)], durability=self.durability)
        document = {"id": id, "version": write.version, "group": [self.number, write.content.group]}
        return WriteStatement(info.id, "insert", documents=[document], conflict="replace", durability=self.durability)

    def receipt(self, transaction: Transaction, table: str) -> WriteStatement:
        document = {"id": [self.number, "receipt", transaction.name]}
        return WriteStatement(self.tables.infos[table].id, "insert", documents=[document], durability=self.durability)


class _Client:
    """One transaction on its way."""

    def __init__(self, workload: Workload, transaction: Transaction) -> None:
        self.workload = workload
        self.storage = workload.storage
        self.random = workload.random
        self.transaction = transaction
        self.context = CallContext(transaction=transaction.name)
        self.writes = 0

    async def run(self) -> None:
        workload, transaction = self.workload, self.transaction
        workload.note(transaction)
        await self.storage.begin_transaction(self.context, transaction.name, workload.level, False, 60_000)
        await self._pause()
        for _ in range(self.random.randint(1, MAX_OPERATIONS)):
            await self._operation()
            await self._pause()
        if self.random.random() < 0.1:
            await self.storage.abort_transaction(self.context, transaction.name)
            transaction.status = "aborted"
            return
        changed = sorted({key[0] for key in transaction.last_writes()})
        await self.storage.write(self.context, [workload.receipt(transaction, table) for table in changed])
        transaction.ending_at = workload.tick()
        workload.note(transaction)
        try:
            await self.storage.commit_transaction(self.context, transaction.name)
            transaction.status = "committed"
        except ReqlError as error:
            if error.kind is not ErrorKind.OP_FAILED:
                raise
            transaction.status = "aborted"

    async def _pause(self) -> None:
        for _ in range(self.random.randrange(4)):
            await asyncio.sleep(0)

    async def _operation(self) -> None:
        kind = self.random.choice(self.workload.operations)
        key = self.workload.any_key()
        if kind == "get":
            await self._get(key)
        elif kind == "range":
            await self._scan(key[0], None)
        elif kind == "group":
            await self._scan(key[0], self.random.randrange(GROUPS))
        elif kind == "write":
            await self._write(key)
        else:
            await self._get(key)
            await self._pause()
            await self._write(key)

    async def _get(self, key: Key) -> None:
        table, number = key
        info = self.workload.tables.infos[table]
        (raw,) = await self.storage.get(self.context, [(info.id, primary_key([self.workload.number, number]))])
        self._record((key,), table, [] if raw is None else [orjson.loads(raw)])

    async def _scan(self, table: str, group: int | None) -> None:
        info, number = self.workload.tables.infos[table], self.workload.number
        if group is None:
            first = self.random.randrange(DOCUMENTS)
            last = self.random.randrange(first, DOCUMENTS)
            bounds = KeyRange(*key_range([number, first], [number, last], "closed", "closed"))
            scan = Scan(info.id, ranges=[bounds], descending=self.random.random() < 0.5, chunk_rows=2)
        else:
            first, last = 0, DOCUMENTS - 1
            bounds = KeyRange(*key_range([number, group], [number, group], "closed", "closed", secondary=True))
            scan = Scan(info.id, index=info.indexes[0].id, ranges=[bounds], chunk_rows=2)
        reply = await self.storage.scan(self.context, scan)
        assert reply.chunk is not None
        rows = list(reply.chunk.values())
        cursor, end = reply.cursor, reply.cursor is None
        while not end:
            assert cursor is not None
            await self._pause()
            chunk, end = await cursor.next()
            rows += chunk.values()
        self._record(tuple((table, document) for document in range(first, last + 1)), table, rows, group)

    def _record(self, keys: tuple[Key, ...], table: str, rows: list[Any], group: int | None = None) -> None:
        found = {(table, row["id"][1]): row["version"] for row in rows}
        self.transaction.operations.append(Read(keys, found, group, self.workload.tick()))

    async def _write(self, key: Key) -> None:
        write = self.workload.new_write(self.transaction, key, self.writes)
        self.writes += 1
        (summary,) = await self.storage.write(self.context, [self.workload.statement(write)])
        assert isinstance(summary, WriteSummary), summary
        if summary.skipped:
            self._record((key,), key[0], [])  # there was nothing to delete, which was read
        else:
            self.transaction.operations.append(write)


async def versions_in_log(
    storage: StorageApi, tables: Tables, transactions: list[Transaction], run: int, after: dict[str, int]
) -> dict[Key, list[Version]]:
    """The versions of each document of a run in the order of the log, from some positions on. Fails where a transaction
    is not there as a whole."""
    by_name = {transaction.name: transaction for transaction in transactions}
    versions: dict[Key, list[Version]] = {}
    for table, info in tables.infos.items():
        changes: dict[Key, Version | None] = {}
        position = after[table]
        while records := await storage.read_log(INTERNAL, info.id, 0, position, 1000):
            position = records[-1].sequence
            for record in records:
                document = orjson.loads(record.new or record.old or b"")
                if document["id"][0] != run:
                    continue
                if document["id"][1] != "receipt":
                    key = (table, document["id"][1])
                    assert key not in changes, f"{key} was changed twice by one transaction"
                    changes[key] = document["version"] if record.new is not None else None
                    continue
                name = document["id"][2]
                writes = {key: write for key, write in by_name[name].last_writes().items() if key[0] == table}
                for key, write in writes.items():
                    assert key in changes or write.content is None, f"a write of {name} to {key} is missing"
                for key, version in changes.items():
                    write = writes[key]
                    assert version == (None if write.content is None else write.version), f"{name} wrote {version}"
                    versions.setdefault(key, []).append(write.version)
                changes.clear()
        assert not changes, f"{changes} were committed without the rest of their transaction"
    return versions


def as_line(transaction: Transaction) -> bytes:
    """A transaction as one line of text."""
    return base64.b64encode(pickle.dumps(transaction))


def from_line(line: bytes) -> Transaction:
    """What `as_line` wrote."""
    transaction: Transaction = pickle.loads(base64.b64decode(line))
    return transaction
