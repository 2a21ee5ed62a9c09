"""Write statements are divided by part, and what becomes of the pieces is told as of one statement."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest

from photondb.api.catalogue import TableInfo
from photondb.api.context import INTERNAL
from photondb.api.storage import TableGone, Write, WriteSummary
from photondb.datum.keys import primary_key
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.rpc.errors import ServiceUnavailable
from photondb.sharding.placement import part_of
from photondb.sharding.writes import Outcome, Piece, combined, divide, node_of_write, traced_alone

SPREAD = TableInfo(7, "u", "t", "test", "key", nodes=(4, 2, 3))
SINGLE = TableInfo(8, "v", "s", "test", "key", nodes=(2,))

DOWN = ServiceUnavailable("Storage node 4: gone.")
LOST = ServiceUnavailable("Storage node 4: lost.", indeterminate=True)


def documents(count: int) -> list[dict[str, Any]]:
    return [{"key": number, "n": number} for number in range(count)]


def test_documents_go_to_their_parts() -> None:
    write = Write(7, "insert", documents=documents(30), durability="soft")
    pieces = divide(write, SPREAD)
    assert sorted(piece.node for piece in pieces) == [2, 3, 4]
    assert sorted(position for piece in pieces for position in piece.positions) == list(range(30))
    for piece in pieces:
        assert piece.write.durability == "soft"
        assert piece.write.documents == [write.documents[position] for position in piece.positions]
        for document in piece.write.documents:
            assert SPREAD.nodes[part_of(primary_key(document["key"]), 3)] == piece.node


def test_keys_go_to_their_parts() -> None:
    write = Write(7, "delete", keys=[primary_key(number) for number in range(30)], return_changes=True)
    pieces = divide(write, SPREAD)
    assert sorted(piece.node for piece in pieces) == [2, 3, 4]
    for piece in pieces:
        assert piece.write.return_changes is True
        assert piece.write.keys == [write.keys[position] for position in piece.positions]


def test_what_needs_no_division_stays_as_it_is() -> None:
    for write, info in (
        (Write(8, "insert", documents=documents(9)), SINGLE),
        (Write(7, "insert", documents=documents(1)), SPREAD),
        (Write(7, "insert"), SPREAD),
        (Write(7, "delete", keys=[primary_key(3), primary_key(3)]), SPREAD),
    ):
        (piece,) = divide(write, info)
        assert piece.write is write
        assert piece.node in info.nodes


@pytest.mark.parametrize("document", [{}, 5, {"key": None}, {"key": {"a": 1}}, {"key": "x" * 200}])
def test_a_document_without_a_key_goes_anywhere(document: Any) -> None:
    write = Write(7, "insert", documents=[document, {"key": 1}, {"key": 2}, {"key": 3}])
    pieces = divide(write, SPREAD)
    assert sorted(position for piece in pieces for position in piece.positions) == [0, 1, 2, 3]
    assert node_of_write(Write(7, "insert", documents=[document]), SPREAD) == SPREAD.nodes[part_of(b"", 3)]


def test_the_node_of_one_document() -> None:
    for number in range(20):
        key = primary_key(number)
        node = SPREAD.nodes[part_of(key, 3)]
        assert node_of_write(Write(7, "update", keys=[key]), SPREAD) == node
        assert node_of_write(Write(7, "insert", documents=[{"key": number}]), SPREAD) == node
        assert node_of_write(Write(8, "update", keys=[key]), SINGLE) == 2
    several = Write(7, "update", keys=[primary_key(1), primary_key(2)])
    assert node_of_write(several, SPREAD) is None
    assert node_of_write(msgspec.structs.replace(several, table=8), SINGLE) == 2


# --- putting together


def outcomes(write: Write, what: dict[int, Outcome]) -> list[tuple[Piece, Outcome]]:
    return [(piece, what[piece.node]) for piece in divide(write, SPREAD)]


def test_summaries_are_added_up() -> None:
    write = Write(7, "insert", documents=documents(30))
    parts = {
        4: WriteSummary(inserted=3, errors=1, first_error="first", warnings=("a",)),
        2: WriteSummary(replaced=2, skipped=1, warnings=("a", "b")),
        3: WriteSummary(unchanged=5, deleted=4),
    }
    whole = combined(write, SPREAD, outcomes(write, parts))
    assert isinstance(whole, WriteSummary)
    assert (whole.inserted, whole.errors, whole.replaced, whole.skipped) == (3, 1, 2, 1)
    assert (whole.unchanged, whole.deleted, whole.first_error, whole.changes) == (5, 4, "first", None)
    assert sorted(whole.warnings) == ["a", "b"]


def change(number: int) -> bytes:
    return orjson.dumps({"new_val": {"key": number}, "old_val": None})


@pytest.mark.parametrize("kept", [lambda number: True, lambda number: number % 3 == 0], ids=["all", "some"])
def test_changes_stand_in_the_order_of_the_documents(kept: Any) -> None:
    write = Write(7, "insert", documents=documents(30), return_changes=True)
    done: list[tuple[Piece, Outcome]] = [
        (piece, WriteSummary(changes=[change(number) for number in piece.positions if kept(number)]))
        for piece in divide(write, SPREAD)
    ]
    whole = combined(write, SPREAD, done)
    assert isinstance(whole, WriteSummary)
    assert whole.changes == [change(number) for number in range(30) if kept(number)]


@pytest.mark.parametrize(
    ("failure", "message"),
    [(DOWN, DOWN.message), (LOST, f"{LOST.message} The documents there may or may not have been written.")],
    ids=["refused", "lost"],
)
def test_a_node_that_fails_is_told_as_errors_of_its_documents(failure: ReqlError, message: str) -> None:
    write = Write(7, "insert", documents=documents(30), return_changes="always")
    pieces = divide(write, SPREAD)
    lost = next(piece for piece in pieces if piece.node == 4)
    done: list[tuple[Piece, Outcome]] = [
        (
            piece,
            failure
            if piece is lost
            else WriteSummary(inserted=len(piece.positions), changes=[change(0)] * len(piece.positions)),
        )
        for piece in pieces
    ]
    whole = combined(write, SPREAD, done)
    assert isinstance(whole, WriteSummary)
    assert whole.errors == len(lost.positions)
    assert whole.inserted == 30 - len(lost.positions)
    assert whole.first_error == message
    assert whole.changes is not None
    assert [orjson.loads(row).get("error") for row in whole.changes] == [
        message if number in lost.positions else None for number in range(30)
    ]


def test_what_fails_everywhere_fails_as_a_whole() -> None:
    write = Write(7, "insert", documents=documents(30))
    assert combined(write, SPREAD, outcomes(write, {4: DOWN, 2: DOWN, 3: DOWN})) is DOWN
    assert combined(write, SPREAD, outcomes(write, {4: DOWN, 2: LOST, 3: DOWN})) is LOST
    gone = TableGone()
    assert combined(write, SPREAD, outcomes(write, {4: DOWN, 2: gone, 3: WriteSummary(inserted=1)})) is gone
    alone = ReqlError(ErrorKind.OP_FAILED, "no")
    single = Write(7, "insert", documents=documents(1))
    assert combined(single, SPREAD, [(divide(single, SPREAD)[0], alone)]) is alone


def test_a_node_is_told_of_its_own_traces_only() -> None:
    spans = tuple((number.to_bytes(16, "big"), number.to_bytes(8, "big")) for number in (1, 2, 3))
    context = INTERNAL.traced(spans)
    writes = [Write(7, "delete", trace=2), Write(7, "delete"), Write(7, "delete", trace=0)]
    alone, renumbered = traced_alone(context, writes)
    assert alone.spans == (spans[0], spans[2])
    assert [write.trace for write in renumbered] == [1, None, 0]
    assert [write.trace for write in writes] == [2, None, 0]
    every = [Write(7, "delete", trace=number) for number in range(3)]
    assert traced_alone(context, every) == (context, every)
    assert traced_alone(INTERNAL, writes[1:2]) == (INTERNAL, writes[1:2])
    one = INTERNAL.traced(spans[:1])
    assert traced_alone(one, writes[1:2]) == (one, writes[1:2])
