"""Write statements: from what the language has evaluated to what storage carries out.

Plain functions without a query around them, so that terms and whoever batches the writes of many queries build the
same statements.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Container, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from photondb.api.catalogue import Durability, TableInfo
from photondb.api.storage import Write
from photondb.datum.errors import DatumError
from photondb.datum.json import dumps
from photondb.datum.keys import primary_key as encode_primary_key
from photondb.datum.text import print_datum
from photondb.datum.types import type_name
from photondb.reql.function import Func

BATCH_ROWS = 400
"""How many documents one write statement changes at most; longer ones are carried out in several."""

NOT_STORABLE = "`r.minval` and `r.maxval` cannot be written to disk."

Conflict = Func | Literal["error", "ignore", "replace", "update"]
PointKind = Literal["update", "replace", "delete"]


class WriteOptions(msgspec.Struct, frozen=True):
    """The options that all write statements have."""

    durability: Durability | None = None
    return_changes: bool | Literal["always"] = False
    ignore_write_hook: bool = False


DEFAULT_OPTIONS = WriteOptions()


def insert_write(
    info: TableInfo,
    documents: Sequence[Any],
    conflict: Conflict = "error",
    options: WriteOptions = DEFAULT_OPTIONS,
) -> Write:
    """The statement that inserts documents, which have their primary keys. What is wrong with one of them (it is no
    object, its key cannot be one) storage finds out and counts."""
    return Write(
        table=info.id,
        kind="insert",
        documents=documents,
        conflict=conflict,
        durability=options.durability,
        return_changes=options.return_changes,
        ignore_write_hook=options.ignore_write_hook,
    )


def point_write(
    info: TableInfo,
    kind: PointKind,
    keys: Sequence[bytes],
    function: Func | None = None,
    options: WriteOptions = DEFAULT_OPTIONS,
) -> Write:
    """The statement that changes the documents with the (encoded) primary keys, each by itself.

    `function` maps the old document to a patch (update) or to the new document (replace)."""
    return Write(
        table=info.id,
        kind=kind,
        keys=keys,
        function=function,
        durability=options.durability,
        return_changes=options.return_changes,
        ignore_write_hook=options.ignore_write_hook,
    )


def with_generated_keys(documents: Sequence[Any], primary_key: str) -> tuple[list[Any], list[str]]:
    """The documents, each with a primary key, and the keys that had to be made. None of them is changed."""
    complete: list[Any] = []
    generated: list[str] = []
    for document in documents:
        if type(document) is dict and primary_key not in document and "$reql_type$" not in document:
            key = new_key()
            generated.append(key)
            document = {**document, primary_key: key}
        complete.append(document)
    return complete, generated


def new_key() -> str:
    """A random UUID (RFC 9562, version 4), as a primary key."""
    return str(uuid.UUID(bytes=os.urandom(16), version=4))


def key_problem(document: Any, primary_key: str) -> str | None:
    """What is wrong with the primary key of a document that is to be inserted; None when nothing is."""
    try:
        if type(document) is not dict:
            return f"Expected type OBJECT but found {type_name(document)}."
        if primary_key not in document:
            return f"Inserted object must have primary key `{primary_key}`:\n{print_datum(document)}"
        encode_primary_key(document[primary_key])
    except DatumError as error:
        return error.message
    return None


class Refusal(NamedTuple):
    """A document that cannot be written at all. `early` says that RethinkDB finds out before it writes anything."""

    message: str
    early: bool


def refusals(documents: Sequence[Any], primary_key: str) -> dict[int, Refusal]:
    """The documents, by position, that cannot be inserted whatever is in the table: their keys cannot be keys, or they
    hold `r.minval` or `r.maxval`, which have no JSON."""
    found = {}
    for position, document in enumerate(documents):
        problem = key_problem(document, primary_key)
        if problem is not None:
            found[position] = Refusal(problem, early=True)
    if not _has_json(documents):
        for position, document in enumerate(documents):
            if position not in found and not _has_json(document):
                found[position] = Refusal(NOT_STORABLE, early=False)
    return found


def runs_between(documents: Sequence[Any], refused: Container[int]) -> Iterator[tuple[int, Sequence[Any]]]:
    """The documents in their order: (position, those from there on) for as many as are not refused, and (position,
    nothing) for each that is."""
    start = 0
    for position in range(len(documents) + 1):
        if position == len(documents) or position in refused:
            if position > start:
                yield start, documents[start:position]
            if position < len(documents):
                yield position, ()
            start = position + 1


def _has_json(value: Any) -> bool:
    try:
        dumps(value)
    except DatumError:
        return False
    return True
