"""The messages that services publish on the bus, as schemas/events.capnp says."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from capnp import KjException

from photondb.api.storage import LogRecord
from photondb.bus.interface import BusMessage
from photondb.rpc import schema
from photondb.rpc.limits import MESSAGE_WORDS

_encode_records = msgspec.msgpack.Encoder().encode
_decode_records = msgspec.msgpack.Decoder(list[LogRecord]).decode


class ChangeBatch(msgspec.Struct, frozen=True):
    """Changes in one shard of a table. The sequence numbers of its records follow one another."""

    table_uuid: str
    shard: int
    first_sequence: int
    records: Sequence[LogRecord]

    @property
    def size(self) -> int:
        """About how many bytes it comes to: those of its keys and documents."""
        return sum([len(record.key) + len(record.old or b"") + len(record.new or b"") for record in self.records])

    def encode(self) -> bytes:
        """The message for it."""
        message = schema.EVENTS.ChangeBatch.new_message(
            table=self.table_uuid,
            shard=self.shard,
            firstSequence=self.first_sequence,
            records=_encode_records(self.records),
        )
        encoded: bytes = message.to_bytes()
        return encoded


def read_change_batch(message: BusMessage) -> ChangeBatch:
    """The batch that a message brings. Raises ValueError when it is none."""
    content = message.content
    return content if isinstance(content, ChangeBatch) else decode_change_batch(message.payload)


def decode_change_batch(message: bytes) -> ChangeBatch:
    """The batch that `ChangeBatch.encode` has made a message of. Raises ValueError when it is none."""
    try:
        with schema.EVENTS.ChangeBatch.from_bytes(message, traversal_limit_in_words=MESSAGE_WORDS) as reader:
            first = reader.firstSequence
            batch = ChangeBatch(reader.table, reader.shard, first, _decode_records(reader.records))
    except (KjException, ValueError, msgspec.MsgspecError) as error:
        raise ValueError(f"not a change batch: {error}") from None
    if any(record.sequence != number for number, record in enumerate(batch.records, first)):
        raise ValueError("not a change batch: its sequence numbers do not follow one another")
    return batch
