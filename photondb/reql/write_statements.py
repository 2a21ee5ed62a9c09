"""Write statements: from what the language has evaluated to what storage carries out.

Plain functions without a query around them, so that terms and whoever batches the writes of many queries build the
same statements.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from photondb.api.catalogue import Durability, TableInfo
from photondb.api.storage import Write
from photondb.datum.errors import DatumError
from photondb.datum.json import dumps
from photondb.reql.function import Func

BATCH_ROWS = 400
"""How many documents one write statement changes at most; longer ones are carried out in several."""

NOT_STORABLE = "`r.minval` and `r.maxval` cannot be written to disk."

Conflict = Func | Literal["error", "replace", "update"]
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


def storable_runs(documents: Sequence[Any]) -> Iterator[tuple[Sequence[Any], bool]]:
    """The documents in runs, in order, with whether those of a run can be written as JSON at all: what holds
    `r.minval` or `r.maxval` cannot. Nearly always all of them are one run."""
    if _has_json(documents):
        yield documents, True
        return
    start = 0
    storable = [_has_json(document) for document in documents]
    for position in range(1, len(documents) + 1):
        if position == len(documents) or storable[position] != storable[start]:
            yield documents[start:position], storable[start]
            start = position


def _has_json(value: Any) -> bool:
    try:
        dumps(value)
    except DatumError:
        return False
    return True
