"""Change batches survive the bus, and nothing else is taken for one."""

from __future__ import annotations

import contextlib
import os

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photondb.api.storage import LogRecord
from photondb.bus import BusMessage
from photondb.rpc import schema
from photondb.rpc.events import ChangeBatch, decode_change_batch, read_change_batch

# A document is JSON and so never empty.
documents = st.none() | st.binary(min_size=1)


@given(
    st.text(),
    st.integers(0, 63),
    st.integers(0, 2**63),
    st.integers(-(2**62), 2**62),
    st.lists(st.tuples(st.binary(), documents, documents), max_size=20),
)
def test_round_trip(
    table: str, shard: int, first: int, time_us: int, changes: list[tuple[bytes, bytes | None, bytes | None]]
) -> None:
    records = [LogRecord(first + n, time_us, key, old, new) for n, (key, old, new) in enumerate(changes)]
    batch = ChangeBatch(table, shard, first, records)
    assert decode_change_batch(batch.encode()) == batch


def test_a_large_batch() -> None:
    records = [LogRecord(n, 5, b"k%d" % n, bytes(1_000_000), os.urandom(1000)) for n in range(1, 101)]
    batch = ChangeBatch("t", 0, 1, records)
    assert decode_change_batch(batch.encode()) == batch


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 40, 120, 127, 128, 200])
def test_a_message_that_was_cut(length: int) -> None:
    batch = ChangeBatch("t", 0, 1, [LogRecord(1, 5, b"key", b"old" * 30, b"new" * 30)])
    message = batch.encode()
    with pytest.raises(ValueError, match="not a change batch"):
        decode_change_batch(message[:length])


@given(st.binary(max_size=200))
def test_noise(noise: bytes) -> None:
    """It may make sense as a batch by chance, but nothing worse happens."""
    with contextlib.suppress(ValueError):
        decode_change_batch(noise)


def test_what_is_not_a_list_of_records() -> None:
    for records in (b"", b"\x93", msgspec.msgpack.encode([[1, 2, b"key", None]]), msgspec.msgpack.encode(7)):
        message = schema.EVENTS.ChangeBatch.new_message(table="t", firstSequence=1, records=records)
        with pytest.raises(ValueError, match="not a change batch"):
            decode_change_batch(message.to_bytes())


def test_numbers_that_do_not_follow_one_another() -> None:
    records = [LogRecord(number, 5, b"key", None, b"{}") for number in (1, 3)]
    with pytest.raises(ValueError, match="do not follow one another"):
        decode_change_batch(ChangeBatch("t", 0, 1, records).encode())


def test_in_one_process_a_batch_arrives_as_it_is() -> None:
    batch = ChangeBatch("t", 0, 1, [])
    assert read_change_batch(BusMessage("a", batch, {})) is batch
    assert read_change_batch(BusMessage("a", batch.encode(), {})) == batch
