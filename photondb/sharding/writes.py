"""Write statements on tables of several parts: divided by part, and what became of the pieces put together again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from photondb.api.catalogue import TableInfo
from photondb.api.context import CallContext
from photondb.api.storage import TableGone, Write, WriteSummary
from photondb.datum.errors import DatumError
from photondb.datum.json import loads_stored
from photondb.datum.keys import primary_key
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.reql.write_summary import add_failure, warn
from photondb.sharding.placement import part_of


class Piece(NamedTuple):
    """What of a statement concerns one part: the statement that its node gets, and which of the documents these are."""

    node: int
    write: Write
    positions: Sequence[int]


def divide(write: Write, info: TableInfo) -> list[Piece]:
    """A statement's pieces: one for each node that has documents of it, and one at least."""
    nodes = info.nodes
    keys = _keys(write, info)
    if len(nodes) == 1 or len(keys) <= 1:
        part = part_of(keys[0], len(nodes)) if keys else 0
        return [Piece(nodes[part], write, range(len(keys)))]
    divided: dict[int, list[int]] = {}
    for position, key in enumerate(keys):
        divided.setdefault(part_of(key, len(nodes)), []).append(position)
    if len(divided) == 1:
        ((part, positions),) = divided.items()
        return [Piece(nodes[part], write, positions)]
    return [
        Piece(
            nodes[part],
            msgspec.structs.replace(
                write,
                keys=[write.keys[position] for position in positions] if write.keys else (),
                documents=[write.documents[position] for position in positions] if write.documents else (),
            ),
            positions,
        )
        for part, positions in divided.items()
    ]


def node_of_write(write: Write, info: TableInfo) -> int | None:
    """The node of a statement on one document; None for one on several, which may be on different nodes."""
    if len(info.nodes) == 1:
        return info.nodes[0]
    if len(write.documents or write.keys) != 1:
        return None
    key = _key(write.documents[0], info.primary_key) if write.kind == "insert" else write.keys[0]
    return info.nodes[part_of(key, len(info.nodes))]


def _keys(write: Write, info: TableInfo) -> Sequence[bytes]:
    if write.kind != "insert":
        return write.keys
    name = info.primary_key
    return [_key(document, name) for document in write.documents]


def _key(document: Any, name: str) -> bytes:
    """The key of a document that is to be inserted; some key for one that has none, of which any node says what is
    wrong with it."""
    try:
        return primary_key(document[name])
    except (DatumError, KeyError, TypeError):
        return b""


Outcome = WriteSummary | Exception


def combined(write: Write, info: TableInfo, outcomes: Sequence[tuple[Piece, Outcome]]) -> Outcome:
    """What became of a statement, from what became of its pieces.

    It fails as a whole only where all of its pieces have. Where some were carried out, the documents of the others are
    counted as errors, so that the answer tells what was done; or, in the text of the error, that nobody knows it.
    """
    if len(outcomes) == 1:
        return outcomes[0][1]
    failures = [outcome for _, outcome in outcomes if isinstance(outcome, Exception)]
    for failure in failures:
        if isinstance(failure, TableGone) or not isinstance(failure, ReqlError):
            return failure
    if len(failures) == len(outcomes):
        return next((failure for failure in failures if _indeterminate(failure)), failures[0])
    total = WriteSummary()
    changes: list[tuple[int, bytes]] = []
    keys = _keys(write, info) if write.return_changes else ()
    for piece, outcome in outcomes:
        if isinstance(outcome, WriteSummary):
            _add(total, outcome)
            changes += _with_positions(piece, outcome.changes or (), keys, info.primary_key)
        else:
            assert isinstance(outcome, ReqlError)
            of_piece = WriteSummary()
            message = outcome.message
            if _indeterminate(outcome):  # a count of errors alone would say that nothing was done
                message += " The documents there may or may not have been written."
            for _ in piece.positions:
                add_failure(of_piece, message, None, write.return_changes)
            _add(total, of_piece)
            changes += zip(piece.positions, of_piece.changes or (), strict=False)
    if write.return_changes:
        changes.sort(key=lambda change: change[0])
        total.changes = [change for _, change in changes]
    return total


def _indeterminate(failure: Exception) -> bool:
    """Whether what has failed may have been carried out all the same."""
    return isinstance(failure, ReqlError) and failure.kind is ErrorKind.OP_INDETERMINATE


def _add(total: WriteSummary, part: WriteSummary) -> None:
    """Add the counts."""
    total.deleted += part.deleted
    total.errors += part.errors
    total.inserted += part.inserted
    total.replaced += part.replaced
    total.skipped += part.skipped
    total.unchanged += part.unchanged
    total.first_error = total.first_error or part.first_error
    for warning in part.warnings:
        warn(total, warning)


def _with_positions(
    piece: Piece, changes: Sequence[bytes], keys: Sequence[bytes], name: str
) -> list[tuple[int, bytes]]:
    """The changes of a piece, with the positions of their documents in the whole statement."""
    positions = piece.positions
    if len(changes) == len(positions):
        return list(zip(positions, changes, strict=True))
    found = []
    following = iter(positions)
    position = len(keys)
    for change in changes:
        rows: dict[str, Any] = loads_stored(change)
        key = _key(rows["new_val"] or rows["old_val"], name)
        position = next((position for position in following if keys[position] == key), len(keys))
        found.append((position, change))
    return found


def traced_alone(context: CallContext, writes: Sequence[Write]) -> tuple[CallContext, Sequence[Write]]:
    """The context and the statements of a call for those of its traces only that these statements belong to."""
    spans = context.spans
    if len(spans) <= 1:
        return context, writes
    traces = sorted({write.trace for write in writes if write.trace is not None})
    if len(traces) == len(spans):
        return context, writes
    numbers = {trace: number for number, trace in enumerate(traces)}
    renumbered = [
        write if write.trace is None else msgspec.structs.replace(write, trace=numbers[write.trace]) for write in writes
    ]
    return context.traced(tuple([spans[trace] for trace in traces])), renumbered
