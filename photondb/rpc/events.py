"""The messages that services publish on the bus, as schemas/events.capnp says."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

import msgspec
from capnp import KjException

from photondb.api.storage import LogRecord
from photondb.rpc import schema
from photondb.rpc.limits import MESSAGE_WORDS
from photondb.rpc.storage_messages import read_records, write_records


class ChangeBatch(msgspec.Struct, frozen=True):
    """The changes that one commit made in one shard of a table. Their sequence numbers follow one another."""

    table_uuid: str
    shard: int
    first_sequence: int
    time_us: int
    records: Sequence[LogRecord]


def encode_change_batch(batch: ChangeBatch) -> bytes:
    """The message for a batch. The numbers and times in its records are not written: the batch's say them all."""
    message = schema.EVENTS.ChangeBatch.new_message(
        table=batch.table_uuid,
        shard=batch.shard,
        firstSequence=batch.first_sequence,
        timeUs=batch.time_us,
        records=write_records(batch.records),
    )
    encoded: bytes = message.to_bytes()
    return encoded


def decode_change_batch(message: bytes) -> ChangeBatch:
    """The batch in a message. Raises ValueError when it is none."""
    try:
        with schema.EVENTS.ChangeBatch.from_bytes(message, traversal_limit_in_words=MESSAGE_WORDS) as reader:
            first = reader.firstSequence
            time_us = reader.timeUs
            sequences = range(first, first + len(reader.records.keys))
            return ChangeBatch(
                reader.table,
                reader.shard,
                first,
                time_us,
                read_records(reader.records, sequences, repeat(time_us, len(sequences))),
            )
    except (KjException, ValueError) as error:
        raise ValueError(f"not a change batch: {error}") from None
