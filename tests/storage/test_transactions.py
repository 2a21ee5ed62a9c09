"""Transactions of storage: what they see, what they keep to themselves, and what stops them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photondb.api.catalogue import CreateIndex, DropIndex, DropTable
from photondb.api.context import INTERNAL, CallContext
from photondb.api.storage import CHANGES_SUBJECT, KeyRange, Scan, Write, WriteSummary
from photondb.api.transactions import Isolation, TransactionConflict, TransactionInfo
from photondb.bus import BusMessage
from photondb.datum.keys import primary_key, secondary_key
from photondb.reql.aggregates import Count
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.reql.steps import FilterStep
from photondb.rpc.events import decode_change_batch
from services.storage.log import MAX_AGE_S
from services.storage.service import Storage
from services.storage.transactions import TransactionLimits
from services.storage.trimmer import LogTrimmer
from tests.storage.conftest import Node, Table
from tests.storage.language import constant, func, term


@dataclass
class Tx:
    """A transaction, with documents as plain values."""

    storage: Storage
    context: CallContext

    @property
    def id(self) -> str:
        return self.context.transaction

    def of(self, table: Table) -> Table:
        """The table as the transaction sees it."""
        return InTransaction(self.storage, table.info, self.context)

    async def commit(self) -> TransactionInfo:
        return await self.storage.commit_transaction(self.context, self.id)

    async def abort(self) -> TransactionInfo:
        return await self.storage.abort_transaction(self.context, self.id)


class InTransaction(Table):
    """A table as a transaction sees it."""

    def __init__(self, storage: Storage, info: Any, context: CallContext) -> None:
        super().__init__(storage, info)
        self.context = context

    async def write(self, kind: Any, **fields: Any) -> WriteSummary:
        if "keys" in fields:
            fields["keys"] = [primary_key(key) for key in fields["keys"]]
        (summary,) = await self.storage.write(self.context, [Write(self.info.id, kind, **fields)])
        if isinstance(summary, Exception):
            raise summary
        return summary

    async def get(self, key: Any) -> Any:
        (raw,) = await self.storage.get(self.context, [(self.info.id, primary_key(key))])
        return None if raw is None else orjson.loads(raw)

    async def rows(self, **fields: Any) -> list[Any]:
        reply = await self.storage.scan(self.context, Scan(self.info.id, **fields))
        assert reply.chunk is not None
        rows = list(reply.chunk.values())
        cursor, last = reply.cursor, reply.cursor is None
        while not last:
            assert cursor is not None
            chunk, last = await cursor.next()
            rows += chunk.values()
        return rows

    async def count(self, **fields: Any) -> int:
        count: int = (await self.storage.scan(self.context, Scan(self.info.id, aggregate=Count(), **fields))).partial
        return count


async def begin(
    storage: Storage,
    isolation: Isolation = "serializable",
    read_only: bool = False,
    timeout_ms: int = 60_000,
    user: str = "admin",
    name: str = "",
) -> Tx:
    name = name or f"tx{begin.number}"  # type: ignore[attr-defined]
    begin.number += 1  # type: ignore[attr-defined]
    context = CallContext(user=user, transaction=name)
    await storage.begin_transaction(context, name, isolation, read_only, timeout_ms)
    return Tx(storage, context)


begin.number = 0  # type: ignore[attr-defined]

levels = pytest.mark.parametrize("isolation", ["serializable", "snapshot"])


async def with_rows(table: Table, *documents: Any) -> Table:
    await table.insert(*documents)
    return table


# --- what a transaction sees


@levels
async def test_its_writes_are_seen_by_itself_alone_until_it_is_committed(table: Table, isolation: Isolation) -> None:
    await table.insert({"id": 1, "n": 1}, {"id": 2, "n": 2}, {"id": 3, "n": 3})
    tx = await begin(table.storage, isolation)
    mine = tx.of(table)
    await mine.write("update", keys=[1], function=constant({"n": 10}))
    await mine.write("delete", keys=[2])
    await mine.insert({"id": 0, "n": 0}, {"id": 4, "n": 4})
    seen = [{"id": 0, "n": 0}, {"id": 1, "n": 10}, {"id": 3, "n": 3}, {"id": 4, "n": 4}]
    assert await mine.rows() == seen
    assert await mine.rows(descending=True) == seen[::-1]
    assert await mine.count() == 4
    assert [await mine.get(key) for key in range(5)] == [seen[0], seen[1], None, seen[2], seen[3]]
    assert [row["id"] for row in await table.rows()] == [1, 2, 3]
    assert (await tx.commit()).state == "committed"
    assert await table.rows() == seen


@levels
async def test_it_sees_the_moment_at_which_it_began(table: Table, isolation: Isolation) -> None:
    await table.insert(*({"id": number, "n": 0} for number in range(100)))
    tx = await begin(table.storage, isolation)
    await table.write("update", keys=list(range(50)), function=constant({"n": 1}))
    await table.write("delete", keys=list(range(50, 100)))
    await table.insert({"id": 1000, "n": 0})
    mine = tx.of(table)
    assert await mine.rows(chunk_rows=7) == [{"id": number, "n": 0} for number in range(100)]
    assert await mine.count() == 100
    assert await mine.get(1000) is None
    await tx.commit()


async def test_an_abort_leaves_nothing(table: Table) -> None:
    tx = await begin(table.storage)
    await tx.of(table).insert({"id": 1})
    assert (await tx.abort()).state == "aborted"
    assert await table.rows() == []
    assert await table.storage.log_position(INTERNAL, table.info.id) == [0]
    with pytest.raises(ReqlError, match=f"Transaction `{tx.id}` is over: it was aborted, because its user aborted it"):
        await tx.commit()


async def test_an_index_with_the_transaction_s_own_writes(node: Node, table: Table) -> None:
    await table.change(CreateIndex("test", "documents", "n", term(lambda row: row["n"])))
    await ready(table)
    await table.insert(*({"id": number, "n": number % 10} for number in range(50)))
    tx = await begin(table.storage)
    mine = tx.of(table)
    await mine.write("update", keys=[5], function=constant({"n": 7}))
    await mine.write("delete", keys=[17])
    await mine.insert({"id": 100, "n": 7}, {"id": 101, "n": 6.5})
    sevens = [KeyRange(secondary_key(7), secondary_key(7) + b"\xff")]
    ids = [row["id"] for row in await mine.rows(index=table.index("n"), ranges=sevens)]
    assert sorted(ids) == [5, 7, 27, 37, 47, 100]
    by_index = [row["n"] for row in await mine.rows(index=table.index("n"), descending=True)]
    assert by_index == sorted(by_index, reverse=True)
    assert len(by_index) == 51
    assert await mine.count(index=table.index("n"), ranges=sevens) == 6
    await tx.commit()
    assert sorted(row["id"] for row in await table.rows(index=table.index("n"), ranges=sevens)) == sorted(ids)


async def test_a_scan_does_not_see_what_is_written_while_it_goes_on(table: Table) -> None:
    await table.insert(*({"id": number} for number in range(100)))
    tx = await begin(table.storage)
    mine = tx.of(table)
    await mine.insert({"id": 50.5})
    reply = await table.storage.scan(tx.context, Scan(table.info.id, chunk_rows=10))
    assert reply.chunk is not None
    assert reply.cursor is not None
    seen = [row["id"] for row in reply.chunk.values()]
    await mine.insert({"id": 70.5})
    await mine.write("delete", keys=[80])
    last = False
    while not last:
        assert await mine.count() == 101  # other reads of the transaction go on meanwhile
        assert len(await mine.rows(ranges=[KeyRange(primary_key(20), primary_key(25))])) == 5
        chunk, last = await reply.cursor.next()
        seen += [row["id"] for row in chunk.values()]
    assert seen == [*range(51), 50.5, *range(51, 100)]
    assert [row["id"] for row in await mine.rows()] == [
        *range(51),
        50.5,
        *range(51, 71),
        70.5,
        *range(71, 80),
        *range(81, 100),
    ]
    await tx.commit()


documents = st.dictionaries(st.integers(0, 30), st.integers(0, 5), max_size=20)
writes = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5) | st.none()), max_size=20)


@given(documents, writes, st.booleans(), st.integers(1, 9), st.integers(0, 30), st.integers(0, 30))
async def test_reads_are_those_of_a_plain_dictionary(
    node_for_examples: Node, before: Any, changes: Any, descending: bool, chunk_rows: int, low: int, high: int
) -> None:
    table = await node_for_examples.table("documents")
    await table.write("delete", keys=list(range(31)))
    await table.insert(*({"id": key, "n": value} for key, value in before.items()))
    tx = await begin(table.storage)
    mine = tx.of(table)
    model = dict(before)
    for key, value in changes:
        if value is None:
            await mine.write("delete", keys=[key])
            model.pop(key, None)
        else:
            await mine.insert({"id": key, "n": value}, conflict="replace")
            model[key] = value
    expected = sorted((key for key in model if low <= key < high), reverse=descending)
    ranges = [KeyRange(primary_key(low), primary_key(high))]
    rows = await mine.rows(ranges=ranges, descending=descending, chunk_rows=chunk_rows)
    assert rows == [{"id": key, "n": model[key]} for key in expected]
    assert await mine.count() == len(model)
    assert len(await mine.rows(steps=[FilterStep(func(lambda row: row["n"] > 2), False)], limit=3)) == min(
        3, sum(value > 2 for value in model.values())
    )
    await tx.commit()
    assert await table.rows() == [{"id": key, "n": model[key]} for key in sorted(model)]


@pytest.fixture
async def node_for_examples(node: Node) -> Node:
    return node


# --- conflicts


@levels
async def test_the_first_who_commits_a_document_wins(table: Table, isolation: Isolation) -> None:
    await table.insert({"id": "x", "n": 0})
    first, second = await begin(table.storage, isolation), await begin(table.storage, isolation)
    for tx in (first, second):
        await tx.of(table).write("update", keys=["x"], function=func(lambda row: {"n": row["n"] + 1}))
    await first.commit()
    with pytest.raises(TransactionConflict) as caught:
        await second.commit()
    assert caught.value.kind is ErrorKind.OP_FAILED
    assert 'document "x" of table `test.documents`' in caught.value.message
    assert "Begin again" in caught.value.message
    assert await table.get("x") == {"id": "x", "n": 1}
    with pytest.raises(ReqlError, match="others had changed what it has read or written"):
        await second.of(table).get("x")


@levels
async def test_a_plain_write_is_a_conflict_too(table: Table, isolation: Isolation) -> None:
    await table.insert({"id": 1, "n": 0})
    tx = await begin(table.storage, isolation)
    await tx.of(table).write("delete", keys=[1])
    await table.write("update", keys=[1], function=constant({"n": 1}))
    with pytest.raises(TransactionConflict):
        await tx.commit()
    assert await table.get(1) == {"id": 1, "n": 1}


@levels
async def test_two_inserts_of_the_same_key(table: Table, isolation: Isolation) -> None:
    first, second = await begin(table.storage, isolation), await begin(table.storage, isolation)
    assert (await first.of(table).insert({"id": 1, "by": 1})).inserted == 1
    assert (await second.of(table).insert({"id": 1, "by": 2})).inserted == 1
    await second.commit()
    with pytest.raises(TransactionConflict):
        await first.commit()
    assert await table.rows() == [{"id": 1, "by": 2}]


async def skewed(table: Table, isolation: Isolation) -> Tx:
    """A transaction that has written, and read what somebody else has changed since."""
    await table.insert({"id": 1, "on_call": True}, {"id": 2, "on_call": True})
    tx = await begin(table.storage, isolation)
    assert (await tx.of(table).get(1))["on_call"]
    await tx.of(table).write("update", keys=[2], function=constant({"on_call": False}))
    await table.write("update", keys=[1], function=constant({"on_call": False}))
    return tx


async def test_what_was_read_has_changed(table: Table) -> None:
    with pytest.raises(TransactionConflict, match="document 1 of table"):
        await (await skewed(table, "serializable")).commit()


async def test_snapshot_isolation_allows_write_skew(table: Table) -> None:
    await (await skewed(table, "snapshot")).commit()
    assert [row["on_call"] for row in await table.rows()] == [False, False]


async def after_reading(table: Table, read: Any, change: Any) -> bool:
    """Whether a transaction that has read something (and written elsewhere) outlives a change by others."""
    tx = await begin(table.storage)
    await read(tx.of(table))
    await tx.of(table).insert({"id": "mine"})
    await change
    try:
        await tx.commit()
    except TransactionConflict:
        return False
    await table.write("delete", keys=["mine"])
    return True


async def test_ranges_that_were_read_have_changed(table: Table) -> None:
    await table.insert(*({"id": number, "n": number} for number in range(0, 100, 2)))

    def tens(mine: Any) -> Any:
        return mine.rows(ranges=[KeyRange(primary_key(10), primary_key(20))])

    assert not await after_reading(table, tens, table.insert({"id": 11}))
    assert not await after_reading(table, tens, table.write("delete", keys=[11]))
    assert not await after_reading(table, tens, table.write("update", keys=[10], function=constant({"n": 0})))
    assert await after_reading(table, tens, table.insert({"id": 21}))
    assert await after_reading(table, tens, table.write("update", keys=[20], function=constant({"n": 0})))
    assert not await after_reading(table, lambda mine: mine.count(), table.insert({"id": 1001}))
    assert not await after_reading(table, lambda mine: mine.rows(limit=3), table.insert({"id": -1}))
    assert await after_reading(table, lambda mine: mine.rows(limit=3, chunk_rows=3), table.insert({"id": 999}))
    assert not await after_reading(table, lambda mine: mine.get(5), table.insert({"id": 5}))


async def test_ranges_of_an_index_that_were_read_have_changed(table: Table) -> None:
    await table.change(CreateIndex("test", "documents", "n", term(lambda row: row["n"])))
    await ready(table)
    await table.insert(*({"id": number, "n": number % 10, "m": 0} for number in range(50)))

    def sevens(mine: Any) -> Any:
        return mine.rows(index=table.index("n"), ranges=[KeyRange(secondary_key(7), secondary_key(7) + b"\xff")])

    def set_n(key: int, n: int) -> Any:
        return table.write("update", keys=[key], function=constant({"n": n}))

    assert not await after_reading(table, sevens, set_n(1, 7))
    assert not await after_reading(table, sevens, set_n(1, 1))
    assert not await after_reading(table, sevens, table.write("delete", keys=[17]))
    assert not await after_reading(table, sevens, table.write("update", keys=[7], function=constant({"m": 1})))
    assert await after_reading(table, sevens, set_n(2, 8))
    assert await after_reading(table, sevens, table.insert({"id": 1000, "n": 3}))


async def test_reading_alone_never_conflicts(table: Table) -> None:
    await table.insert({"id": 1})
    tx = await begin(table.storage)
    assert await tx.of(table).count() == 1
    await table.insert({"id": 2})
    assert await tx.of(table).count() == 1
    assert (await tx.commit()).state == "committed"


async def test_a_log_that_was_trimmed_too_far_is_a_conflict(table: Table) -> None:
    await table.insert({"id": 0})
    tx = await begin(table.storage, "snapshot")
    await tx.of(table).insert({"id": "mine"})
    for number in range(1, 20):
        await table.insert({"id": number})
    trimmer = LogTrimmer(table.storage._store, table.storage._tables, MAX_AGE_S, max_bytes=1, min_records=1)
    trimmer.trim(table.storage._tables[table.info.id])
    with pytest.raises(TransactionConflict, match=r"change log of table `test\.documents` does not go back"):
        await tx.commit()
    assert await table.get("mine") is None


async def test_many_changes_by_others_are_looked_through(table: Table) -> None:
    tx = await begin(table.storage)
    await tx.of(table).insert({"id": "mine"})
    for start in range(0, 3000, 100):
        await table.insert(*({"id": number} for number in range(start, start + 100)), durability="soft")
    await tx.commit()
    tx = await begin(table.storage)
    await tx.of(table).insert({"id": "late"})
    for start in range(3000, 6000, 100):
        await table.insert(*({"id": number} for number in range(start, start + 100)), durability="soft")
    await table.insert({"id": "late"})
    with pytest.raises(TransactionConflict):
        await tx.commit()


# --- the catalogue


async def test_a_table_that_was_dropped_is_a_conflict(node: Node) -> None:
    one, two = await node.table("one"), await node.table("two")
    tx = await begin(node.storage)
    await tx.of(one).insert({"id": 1})
    await tx.of(two).insert({"id": 1})
    await node.storage.change_catalogue(INTERNAL, DropTable("test", "two"))
    with pytest.raises(TransactionConflict, match=r"Table `test.two`.* was dropped"):
        await tx.commit()
    assert await one.rows() == []


async def test_a_table_that_is_too_young(node: Node) -> None:
    tx = await begin(node.storage)
    young = await node.table("young")
    with pytest.raises(ReqlError, match=r"Table `test.young` was created after transaction .* begin again"):
        await tx.of(young).rows()


async def test_an_index_that_is_too_young(table: Table) -> None:
    await table.insert({"id": 1, "n": 1})
    tx = await begin(table.storage)
    await tx.of(table).insert({"id": 2, "n": 2})
    await table.change(CreateIndex("test", "documents", "n", term(lambda row: row["n"])))
    await ready(table)
    with pytest.raises(ReqlError, match=r"Index `n` on table `test.documents` was not ready when transaction"):
        await tx.of(table).rows(index=table.index("n"))
    await tx.of(table).insert({"id": 3, "n": 3})
    await tx.commit()
    assert [row["id"] for row in await table.rows(index=table.index("n"))] == [1, 2, 3]


async def test_an_index_that_was_dropped_is_checked_all_the_same(table: Table) -> None:
    await table.change(CreateIndex("test", "documents", "n", term(lambda row: row["n"])))
    await ready(table)
    await table.insert({"id": 1, "n": 1})
    tx = await begin(table.storage)
    assert len(await tx.of(table).rows(index=table.index("n"))) == 1
    await tx.of(table).insert({"id": "mine", "n": None})
    await table.change(DropIndex("test", "documents", "n"))
    await table.insert({"id": 2, "n": 2})
    with pytest.raises(TransactionConflict):
        await tx.commit()


# --- what is written


async def test_all_tables_and_indexes_and_the_log_change_at_once(node: Node) -> None:
    one, two = await node.table("one"), await node.table("two")
    await one.change(CreateIndex("test", "one", "n", term(lambda row: row["n"])))
    await ready(one)
    await one.insert({"id": 1, "n": 1}, {"id": 2, "n": 2})
    heard: list[tuple[str, int, list[bytes]]] = []

    def hear(message: BusMessage) -> None:
        batch = decode_change_batch(message.payload)
        heard.append((batch.table_uuid, batch.first_sequence, [record.key for record in batch.records]))

    for table in (one, two):
        await node.bus.subscribe(CHANGES_SUBJECT.format(table_uuid=table.info.uuid, shard=0), hear)
    tx = await begin(node.storage)
    await tx.of(two).insert({"id": "b"}, {"id": "a"})
    await tx.of(one).write("update", keys=[2], function=constant({"n": 20}))
    await tx.of(one).write("delete", keys=[1])
    await tx.of(one).insert({"id": "passing"})
    await tx.of(one).write("delete", keys=["passing"])
    await tx.of(one).write("update", keys=[2], function=constant({"n": 30}))
    await asyncio.sleep(0.01)
    assert heard == []
    before = node.storage._store.writes
    await tx.commit()
    assert node.storage._store.writes == before + 1
    await asyncio.sleep(0.01)
    assert sorted(heard, key=lambda one: one[1]) == [
        (two.info.uuid, 1, [primary_key("b"), primary_key("a")]),
        (one.info.uuid, 3, [primary_key(2), primary_key(1)]),
    ]
    assert await one.rows(index=one.index("n")) == [{"id": 2, "n": 30}]
    records = await node.storage.read_log(INTERNAL, one.info.id, 0, 2, 10)
    assert [(record.sequence, record.old, record.new) for record in records] == [
        (3, b'{"id":2,"n":2}', b'{"id":2,"n":30}'),
        (4, b'{"id":1,"n":1}', None),
    ]


async def test_nothing_is_left_of_it_after_a_restart(node: Node, table: Table) -> None:
    tx = await begin(node.storage)
    await tx.of(table).insert({"id": 1})
    await node.stop()
    tx.storage = await node.start()
    with pytest.raises(ReqlError, match=r"There is no transaction .* before storage was started\. Begin again\."):
        await tx.commit()
    assert await (await node.table("documents")).rows() == []


# --- their life


async def test_a_transaction_times_out_and_frees_what_it_holds(table: Table) -> None:
    await table.insert(*({"id": number} for number in range(100)))
    tx = await begin(table.storage, timeout_ms=30)
    await tx.of(table).insert({"id": 1000})
    reply = await table.storage.scan(tx.context, Scan(table.info.id, chunk_rows=10))
    assert reply.cursor is not None
    view = table.storage._transactions._open[tx.id].view
    while view.pinned:
        await asyncio.sleep(0.01)
    with pytest.raises(ReqlError, match=r"was not ended within its timeout of 0\.03 seconds.*Begin again"):
        await reply.cursor.next()
    with pytest.raises(ReqlError, match="timeout"):
        await tx.of(table).rows()
    with pytest.raises(ReqlError, match="timeout"):
        await tx.commit()
    (info,) = await table.storage.transactions(INTERNAL)
    assert (info.state, info.writes) == ("aborted", 1)
    assert table.storage._transactions._open == {}


async def test_only_its_user_and_admin_have_to_do_with_it(table: Table) -> None:
    tx = await begin(table.storage, user="ada")
    stranger = msgspec.structs.replace(tx.context, user="eve")
    for call in (
        table.storage.get(stranger, [(table.info.id, primary_key(1))]),
        table.storage.scan(stranger, Scan(table.info.id)),
        table.storage.write(stranger, []),
        table.storage.commit_transaction(stranger, tx.id),
        table.storage.abort_transaction(stranger, tx.id),
    ):
        with pytest.raises(ReqlError, match="There is no transaction"):
            await call
    assert await table.storage.transactions(stranger) == []
    assert [info.id for info in await table.storage.transactions(tx.context)] == [tx.id]
    assert (await table.storage.abort_transaction(INTERNAL, tx.id)).user == "ada"


async def test_a_read_only_transaction_refuses_writes(table: Table) -> None:
    tx = await begin(table.storage, read_only=True)
    with pytest.raises(ReqlError, match="is read-only"):
        await tx.of(table).insert({"id": 1})
    assert await tx.of(table).rows() == []
    await tx.commit()


async def test_two_queries_at_once(table: Table) -> None:
    tx = await begin(table.storage)
    slow = asyncio.create_task(tx.of(table).insert(*({"id": number} for number in range(5000))))
    await asyncio.sleep(0)
    with pytest.raises(ReqlError, match="is still writing"):
        await tx.of(table).insert({"id": -1})
    with pytest.raises(ReqlError, match="while a query of it is still running"):
        await tx.commit()
    assert (await slow).inserted == 5000
    await tx.commit()


async def test_a_write_that_is_broken_off_aborts_the_transaction(table: Table) -> None:
    tx = await begin(table.storage)
    slow = asyncio.create_task(tx.of(table).insert(*({"id": number} for number in range(5000))))
    await asyncio.sleep(0)
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    with pytest.raises(ReqlError, match="a query of it was interrupted"):
        await tx.commit()
    assert await table.rows() == []


async def test_an_error_in_a_document_is_counted_and_does_no_harm(table: Table) -> None:
    await table.insert({"id": 1})
    tx = await begin(table.storage)
    summary = await tx.of(table).insert({"id": 1}, {"id": 2})
    assert (summary.inserted, summary.errors) == (1, 1)
    await tx.commit()
    assert await table.rows() == [{"id": 1}, {"id": 2}]


async def test_an_atomic_one_does_not_outlive_an_error_in_a_document(table: Table) -> None:
    await table.insert({"id": 1})
    tx = await begin(table.storage)
    await tx.of(table).insert({"id": 1}, {"id": 2})
    atomic = msgspec.structs.replace(tx.context, atomic=True)
    with pytest.raises(ReqlError, match=r"1 of its documents could not be written.*Duplicate primary key"):
        await table.storage.commit_transaction(atomic, tx.id)
    assert await table.rows() == [{"id": 1}]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (TransactionLimits(max_documents=500), "at most 500 documents"),
        (TransactionLimits(max_bytes=20_000), "at most 20,000 bytes"),
        (TransactionLimits(max_bytes_of_all=20_000), "all open transactions together can take at most 20,000 bytes"),
    ],
)
async def test_a_transaction_that_becomes_too_large_is_aborted(node: Node, limits: Any, message: str) -> None:
    table = await node.table("documents")
    node.storage._transactions.limits = limits
    tx = await begin(node.storage)
    with pytest.raises(ReqlError, match=message) as caught:
        await tx.of(table).insert(*({"id": number, "text": "x" * 50} for number in range(1000)))
    assert caught.value.kind is ErrorKind.RESOURCE_LIMIT
    with pytest.raises(ReqlError, match="it became too large"):
        await tx.commit()
    assert await table.rows() == []


async def test_there_cannot_be_too_many(node: Node) -> None:
    node.storage._transactions.limits = TransactionLimits(max_open=3, max_timeout_ms=5_000)
    with pytest.raises(ReqlError, match="more than 0 and at most 5 seconds, not 6"):
        await begin(node.storage, timeout_ms=6_000)
    begun = await begin(node.storage, timeout_ms=0)
    assert (await begun.abort()).timeout_ms == 5_000
    open_ones = [await begin(node.storage, timeout_ms=5_000) for _ in range(3)]
    with pytest.raises(ReqlError, match=r"Too many open transactions \(the limit is 3\)"):
        await begin(node.storage, timeout_ms=5_000)
    await open_ones[0].abort()
    await begin(node.storage, timeout_ms=5_000)


async def test_much_that_is_read_is_remembered_roughly(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.storage.read_set.MAX_KEYS", 10)
    await table.insert(*({"id": number} for number in range(30)))

    async def read(mine: Any) -> None:
        for number in range(20):
            await mine.get(number)

    assert not await after_reading(table, read, table.insert({"id": 5000}))


async def ready(table: Table) -> None:
    """Wait until the table's indexes are built."""
    while not all(status.ready for status in await table.storage.index_status(INTERNAL, table.info.id)):
        await asyncio.sleep(0.005)
    catalogue = await table.storage.catalogue(INTERNAL)
    table.info = next(info for info in catalogue.tables.values() if info.id == table.info.id)


async def test_an_index_key_that_is_too_long_for_an_index_of_before_and_of_after_the_write(table: Table) -> None:
    await table.change(CreateIndex("test", "documents", "a", term(lambda row: row["a"])))
    tx = await begin(table.storage)
    summary = await tx.of(table).insert({"id": 1, "a": "x" * 40_000}, {"id": 2, "b": "x" * 40_000})
    assert (summary.inserted, summary.errors) == (1, 1)
    assert "in the index `a`" in (summary.first_error or "")
    await table.change(CreateIndex("test", "documents", "b", term(lambda row: row["b"])))
    with pytest.raises(ReqlError, match=r"primary key 2 .* in the index `b`.*Nothing of the transaction was saved"):
        await tx.commit()
    assert await table.rows() == []
