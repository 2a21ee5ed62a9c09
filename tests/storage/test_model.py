"""Writes against a dictionary: whatever is written, concurrently, the answers and what is there are the model's."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from photondb.api.catalogue import CreateIndex
from photondb.api.context import INTERNAL
from photondb.api.storage import Write, WriteSummary
from photondb.datum.keys import primary_key
from photondb.datum.order import sort_key
from tests.examples import examples
from tests.storage.conftest import Node
from tests.storage.language import constant, term

keys = st.sampled_from([1, 2, 3, "a", "b", 2.5, -1, [1, "x"]])
scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["x", "y"])
fields = st.dictionaries(
    st.sampled_from("abcd"), scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.sampled_from("pq"), scalars)
)
durabilities = st.sampled_from(["hard", "soft"])
statements = st.one_of(
    st.builds(
        lambda rows, conflict, durability: ("insert", rows, conflict, durability),
        st.lists(st.tuples(keys, fields), max_size=4),
        st.sampled_from(["error", "replace", "update"]),
        durabilities,
    ),
    st.tuples(st.just("update"), st.lists(keys, max_size=4), fields, durabilities),
    st.tuples(st.just("replace"), keys, st.none() | fields, durabilities),
    st.tuples(st.just("delete"), st.lists(keys, max_size=3), st.none(), durabilities),
)
calls = st.lists(statements, min_size=1, max_size=4)
turns = st.lists(st.lists(calls, min_size=1, max_size=4), min_size=1, max_size=5)

Document = dict[str, Any]


class Model:
    """What a table should be like."""

    def __init__(self) -> None:
        self.documents: dict[bytes, Document] = {}

    def carry_out(self, statement: Any) -> dict[str, int]:
        """Do what a statement says; its counters that are not zero."""
        kind, first, second, _ = statement
        counters: dict[str, int] = {}
        for key, new in self._new_documents(kind, first, second):
            outcome = "errors" if new is ... else self._settle(key, new)
            counters[outcome] = counters.get(outcome, 0) + 1
        return counters

    def _new_documents(self, kind: str, first: Any, second: Any) -> Any:
        if kind == "insert":
            for value, rest in first:
                key, new = primary_key(value), {**rest, "id": value}
                old = self.documents.get(key)
                if old is not None and second == "error":
                    new = ...  # type: ignore[assignment]
                elif old is not None and second == "update":
                    new = merged(old, new)
                yield key, new
        elif kind == "update":
            for value in first:
                old = self.documents.get(primary_key(value))
                yield primary_key(value), None if old is None else merged(old, second)
        elif kind == "replace":
            yield primary_key(first), None if second is None else {**second, "id": first}
        else:
            for value in first:
                yield primary_key(value), None

    def _settle(self, key: bytes, new: Document | None) -> str:
        old = self.documents.get(key)
        if new is None:
            self.documents.pop(key, None)
            return "skipped" if old is None else "deleted"
        self.documents[key] = new
        if old is None:
            return "inserted"
        return "unchanged" if same(old, new) else "replaced"


def merged(old: Document, patch: Document) -> Document:
    result = dict(old)
    for name, value in patch.items():
        before = result.get(name)
        result[name] = merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return result


def same(left: Any, right: Any) -> bool:
    """Equality that does not take True for 1."""
    return bool(sort_key(left) == sort_key(right))


def write_of(table: int, statement: Any) -> Write:
    kind, first, second, durability = statement
    if kind == "insert":
        documents = [{**rest, "id": value} for value, rest in first]
        return Write(table, "insert", documents=documents, conflict=second, durability=durability)
    if kind == "update":
        encoded = [primary_key(value) for value in first]
        return Write(table, "update", keys=encoded, function=constant(second), durability=durability)
    if kind == "replace":
        document = None if second is None else {**second, "id": first}
        return Write(table, "replace", keys=[primary_key(first)], function=constant(document), durability=durability)
    return Write(table, "delete", keys=[primary_key(value) for value in first], durability=durability)


def counters_of(result: WriteSummary | Exception) -> dict[str, int]:
    assert isinstance(result, WriteSummary), result
    names = ("deleted", "errors", "inserted", "replaced", "skipped", "unchanged")
    return {name: getattr(result, name) for name in names if getattr(result, name)}


async def compare(path: Path, plan: Sequence[Sequence[Sequence[Any]]], *, indexed: bool) -> None:
    node = Node(path)
    await node.start()
    table = await node.table("documents")
    if indexed:
        await table.change(CreateIndex("test", "documents", "a", term(lambda row: row["a"])))
        await table.change(CreateIndex("test", "documents", "b", term(lambda row: row["b"]), multi=True))
    model = Model()
    for turn in plan:
        writes = [[write_of(table.info.id, statement) for statement in call] for call in turn]
        results = await asyncio.gather(*(table.storage.write(INTERNAL, call) for call in writes))
        for call, answers in zip(turn, results, strict=True):
            assert [counters_of(answer) for answer in answers] == [model.carry_out(statement) for statement in call]
        expected = [model.documents[key] for key in sorted(model.documents)]
        rows = await table.rows()
        assert len(rows) == len(expected)
        assert all(map(same, rows, expected))
    await node.stop()  # compares documents, entries and log
    await node.start()
    rows = await (await node.table("documents")).rows()
    assert all(map(same, rows, expected))
    log = await node.storage.read_log(INTERNAL, table.info.id, 0, 0, 10_000)
    replayed: dict[bytes, bytes | None] = {}
    for record in log:
        assert replayed.get(record.key) == record.old
        replayed[record.key] = record.new
    assert sorted(key for key, raw in replayed.items() if raw is not None) == sorted(model.documents)
    await node.stop()


@settings(max_examples=examples(60))
@given(plan=turns, indexed=st.booleans())
def test_writes_against_a_model(plan: Sequence[Sequence[Sequence[Any]]], indexed: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(compare(Path(directory), plan, indexed=indexed))
