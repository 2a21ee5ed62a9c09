"""How the requests and replies of `storage` are written: statements, summaries, ranges, and records.

Reading takes what this module wrote, or what another program wrote as schemas/storage.capnp says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import orjson

from photondb.api.catalogue import Durability
from photondb.api.storage import IndexPart, KeyRange, LogRecord, Scan, Write, WriteSummary
from photondb.api.transactions import Isolation, TransactionInfo, TransactionState
from photondb.datum.json import dumps, loads_stored
from photondb.reql.errors import op_failed
from photondb.reql.function import Func
from photondb.reql.parameters import constant_function
from photondb.reql.pipeline import aggregate_from_wire, steps_from_wire, steps_to_wire
from photondb.rpc.errors import WireError, encodable

if TYPE_CHECKING:
    from photondb.reql.pipeline import Step


PACKED_BYTES = 4096
"""Documents that are longer on average are not packed: to copy them twice more would take longer."""

_pack = msgspec.msgpack.Encoder().encode
_unpack_keys = msgspec.msgpack.Decoder(tuple[list[bytes], list[int]]).decode
_unpack_documents = msgspec.msgpack.Decoder(list[bytes | None]).decode


def write_keys(keys: Sequence[tuple[int, bytes]], *, packed: bool) -> dict[str, Any]:
    """The parameters of `Storage.get`, apart from the context. `packed` where the other side can read that: an element
    of a list of Cap'n Proto's costs ten times as much."""
    tables = [table for table, _ in keys]
    raws = [key for _, key in keys]
    if not packed:
        return {"tables": tables, "keys": raws}
    if tables.count(tables[0]) == len(tables):
        del tables[1:]
    return {"packed": _pack((raws, tables))}


def read_keys(params: Any) -> list[tuple[int, bytes]]:
    """The tables and keys in the parameters of `Storage.get`, packed or not."""
    packed = params.packed
    if not packed:
        return list(zip(params.tables, params.keys, strict=True))
    keys, tables = _unpack_keys(packed)
    return list(zip(tables * len(keys) if len(tables) == 1 else tables, keys, strict=True))


def write_documents(results: Any, documents: Sequence[bytes | None], packed: bool) -> None:
    """Fill in the result of `Storage.get`; `packed` where the caller can read it."""
    if packed and sum([len(document) for document in documents if document]) <= PACKED_BYTES * len(documents):
        results.packed = _pack(documents)
    else:
        results.ok = [document or b"" for document in documents]


def read_documents(response: Any) -> list[bytes | None]:
    """The documents in a result of `Storage.get`, one at least. Raises ReqlError where there is none."""
    packed = response.packed
    documents = _unpack_documents(packed) if packed else [document or None for document in response.ok]
    if not documents:  # who asks for the rest again would do so forever
        raise op_failed("The storage service gives no documents.")
    return documents


def write_statements(writes: Sequence[Write], *, constants: bool = True) -> dict[str, Any]:
    """The parameters of `Storage.write`, apart from the context. `constants` says that the other side can read
    `constant`."""
    documents = [document for write in writes for document in write.documents]
    try:
        statements = orjson.dumps([_statement(write, as_value=constants) for write in writes])
    except TypeError:  # a constant that is no JSON
        statements = dumps([_statement(write, as_value=False) for write in writes])
    return {
        "statements": statements,
        "keys": [key for write in writes for key in write.keys],
        "documents": dumps(documents) if documents else b"",
    }


def _statement(write: Write, as_value: bool) -> dict[str, Any]:
    """A statement as a JSON object. What has its default is left out. `as_value` says that of a function that gives a
    constant the value is enough: to compile it would take the other side as long as to carry it out."""
    statement: dict[str, Any] = {"table": write.table, "kind": write.kind}
    if write.keys:
        statement["keys"] = len(write.keys)
    if write.documents:
        statement["documents"] = len(write.documents)
    function = write.function
    if function is not None:
        if as_value and function.code.constant and not function.code.path:
            statement["constant"] = function.body(function.frame)
        else:
            statement["function"] = function.to_wire()
    if isinstance(write.conflict, Func):
        statement["conflict"] = write.conflict.to_wire()
    elif write.conflict != "error":
        statement["conflict"] = write.conflict
    if write.durability is not None:
        statement["durability"] = write.durability
    if write.return_changes:
        statement["return_changes"] = write.return_changes
    if write.ignore_write_hook:
        statement["ignore_write_hook"] = True
    if write.trace is not None:
        statement["trace"] = write.trace
    return statement


class _Statement(msgspec.Struct):
    """A statement as it is read: `keys` and `documents` say how many of all are its own."""

    table: int
    kind: Literal["insert", "update", "replace", "delete"]
    keys: int = 0
    documents: int = 0
    function: list[Any] | None = None
    constant: Any = msgspec.UNSET
    conflict: Literal["error", "ignore", "replace", "update"] | list[Any] = "error"
    durability: Durability | None = None
    return_changes: bool | Literal["always"] = False
    ignore_write_hook: bool = False
    trace: int | None = None


_decode_statements = msgspec.json.Decoder(list[_Statement]).decode


def read_statements(params: Any) -> list[Write]:
    """The statements in the parameters of `Storage.write`."""
    keys: list[bytes] = list(params.keys)
    blob = params.documents
    documents: list[dict[str, Any]] = loads_stored(blob) if blob else []
    writes = []
    first_key = first_document = 0
    for statement in _decode_statements(params.statements):
        end_key, end_document = first_key + statement.keys, first_document + statement.documents
        conflict = statement.conflict
        writes.append(
            Write(
                statement.table,
                statement.kind,
                keys[first_key:end_key],
                documents[first_document:end_document],
                _function(statement),
                Func.from_wire(conflict) if isinstance(conflict, list) else conflict,
                statement.durability,
                statement.return_changes,
                statement.ignore_write_hook,
                statement.trace,
            )
        )
        first_key, first_document = end_key, end_document
    return writes


def _function(statement: _Statement) -> Func | None:
    if statement.constant is not msgspec.UNSET:
        return constant_function(statement.constant)
    return None if statement.function is None else Func.from_wire(statement.function)


class _Outcome(msgspec.Struct, omit_defaults=True):
    """A WriteSummary as a JSON object, or the error of a statement that failed as a whole."""

    deleted: int = 0
    errors: int = 0
    inserted: int = 0
    replaced: int = 0
    skipped: int = 0
    unchanged: int = 0
    first_error: str | None = None
    changes: list[msgspec.Raw] | None = None
    warnings: tuple[str, ...] = ()
    generated_keys: list[Any] | None = None
    error: WireError | None = None


_encode_outcomes = msgspec.json.Encoder().encode
_decode_outcomes = msgspec.json.Decoder(list[_Outcome]).decode


def write_outcomes(outcomes: Iterable[WriteSummary | Exception], service: str, request_id: str) -> bytes:
    """What became of the statements, as a JSON list."""
    return _encode_outcomes([_outcome(outcome, service, request_id) for outcome in outcomes])


def _outcome(outcome: WriteSummary | Exception, service: str, request_id: str) -> _Outcome:
    if isinstance(outcome, Exception):
        return _Outcome(error=WireError.of(outcome, service, request_id))
    return _Outcome(
        outcome.deleted,
        outcome.errors,
        outcome.inserted,
        outcome.replaced,
        outcome.skipped,
        outcome.unchanged,
        None if outcome.first_error is None else encodable(outcome.first_error),
        None if outcome.changes is None else list(map(msgspec.Raw, outcome.changes)),
        outcome.warnings,
        outcome.generated_keys,
    )


def read_outcomes(blob: bytes) -> list[WriteSummary | Exception]:
    """What `write_outcomes` wrote."""
    return [
        WriteSummary(
            outcome.deleted,
            outcome.errors,
            outcome.inserted,
            outcome.replaced,
            outcome.skipped,
            outcome.unchanged,
            outcome.first_error,
            None if outcome.changes is None else list(map(bytes, outcome.changes)),
            outcome.warnings,
            outcome.generated_keys,
        )
        if outcome.error is None
        else outcome.error.exception()
        for outcome in _decode_outcomes(blob)
    ]


def write_ranges(ranges: Sequence[KeyRange]) -> dict[str, Any]:
    """`KeyRanges` of storage.capnp."""
    columns: dict[str, Any] = {"lows": [r.low for r in ranges], "highs": [r.high for r in ranges]}
    if any(r.repeat != 1 for r in ranges):
        columns["repeats"] = [r.repeat for r in ranges]
    return columns


def read_ranges(reader: Any) -> list[KeyRange]:
    """What a `KeyRanges` holds."""
    lows, highs = list(reader.lows), list(reader.highs)
    repeats = list(reader.repeats) or [1] * len(lows)
    return list(map(KeyRange, lows, highs, repeats))


def write_steps(steps: Sequence[Step]) -> bytes:
    """Steps as a JSON list; nothing where there are none."""
    return dumps(steps_to_wire(steps)) if steps else b""


def read_steps(blob: bytes) -> list[Step]:
    """What `write_steps` wrote."""
    return steps_from_wire(loads_stored(blob)) if blob else []


def write_scan(scan: Scan) -> dict[str, Any]:
    """`ScanRequest` of storage.capnp."""
    return {
        "table": scan.table,
        "index": -1 if scan.index is None else scan.index,
        "ranges": write_ranges(scan.ranges),
        "descending": scan.descending,
        "steps": write_steps(scan.steps),
        "aggregate": b"" if scan.aggregate is None else dumps(scan.aggregate.to_wire()),
        "limit": -1 if scan.limit is None else scan.limit,
        "chunkRows": scan.chunk_rows,
        "chunkBytes": scan.chunk_bytes,
        "firstChunkRows": scan.first_chunk_rows or 0,
        "primaryOrder": scan.primary_order,
        "measured": scan.measured,
        "keyed": scan.keyed,
        "others": [{"index": part.index, "ranges": write_ranges(part.ranges)} for part in scan.others],
        "every": scan.every,
        "byValue": scan.by_value,
        "mostRead": -1 if scan.most_read is None else scan.most_read,
    }


def read_scan(reader: Any) -> Scan:
    """What a `ScanRequest` holds."""
    index, aggregate, limit = reader.index, reader.aggregate, reader.limit
    return Scan(
        table=reader.table,
        index=None if index < 0 else index,
        ranges=read_ranges(reader.ranges),
        descending=reader.descending,
        steps=read_steps(reader.steps),
        aggregate=aggregate_from_wire(loads_stored(aggregate)) if aggregate else None,
        limit=None if limit < 0 else limit,
        chunk_rows=reader.chunkRows,
        chunk_bytes=reader.chunkBytes,
        first_chunk_rows=reader.firstChunkRows or None,
        primary_order=reader.primaryOrder,
        measured=reader.measured,
        keyed=reader.keyed,
        others=tuple(IndexPart(part.index, read_ranges(part.ranges)) for part in reader.others),
        every=reader.every,
        by_value=reader.byValue,
        most_read=None if reader.mostRead < 0 else reader.mostRead,
    )


def write_records(records: Sequence[LogRecord]) -> dict[str, Any]:
    """`Records` of events.capnp."""
    return {
        "keys": [record.key for record in records],
        "olds": [record.old or b"" for record in records],
        "news": [record.new or b"" for record in records],
        "oldAbsent": [record.old is None for record in records],
        "newAbsent": [record.new is None for record in records],
    }


def read_records(reader: Any, sequences: Iterable[int], times_us: Iterable[int]) -> list[LogRecord]:
    """What a `Records` holds, with the sequence numbers and times that go with it."""
    return [
        LogRecord(sequence, time_us, key, None if old_absent else old, None if new_absent else new)
        for sequence, time_us, key, old, new, old_absent, new_absent in zip(
            sequences, times_us, reader.keys, reader.olds, reader.news, reader.oldAbsent, reader.newAbsent, strict=True
        )
    ]


def write_transaction(info: TransactionInfo) -> dict[str, Any]:
    """`Transaction` of storage.capnp."""
    return {
        "id": info.id,
        "user": info.user,
        "isolation": info.isolation,
        "readOnly": info.read_only,
        "timeoutMs": info.timeout_ms,
        "startedUs": info.started_us,
        "state": info.state,
        "reason": info.reason,
        "reads": info.reads,
        "writes": info.writes,
    }


def read_transaction(reader: Any) -> TransactionInfo:
    """What a `Transaction` holds."""
    state: TransactionState = reader.state
    return TransactionInfo(
        reader.id,
        reader.user,
        read_isolation(reader.isolation),
        reader.readOnly,
        reader.timeoutMs,
        reader.startedUs,
        state,
        reader.reason,
        reader.reads,
        reader.writes,
    )


def read_isolation(word: str) -> Isolation:
    """The level of isolation of that name; for one that this version does not know, the stricter one."""
    return "snapshot" if word == "snapshot" else "serializable"
