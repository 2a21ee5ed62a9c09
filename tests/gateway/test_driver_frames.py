"""The frame reader: every way in which frames can arrive, and frames beyond the limit."""

from __future__ import annotations

import itertools

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.protocol import (
    DISCARD_LIMIT_BYTES,
    HEADER,
    FrameReader,
    TooLong,
    frame,
    too_long_response,
)

LIMIT = 1000
ROOM = 1_000_000

frames_strategy = st.lists(st.tuples(st.integers(0, 2**64 - 1), st.binary(max_size=60)), max_size=8)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in pieces, cut at `places`."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def test_frame_is_token_length_and_json_little_endian() -> None:
    assert frame(0x0102030405060708, b"{}") == b"\x08\x07\x06\x05\x04\x03\x02\x01\x02\x00\x00\x00{}"
    assert FrameReader(LIMIT).receive(frame(2**64 - 1, b"[4]"), ROOM) == [(2**64 - 1, b"[4]")]


@given(frames_strategy, st.lists(st.integers(min_value=0), max_size=12))
def test_frames_are_the_same_however_the_stream_is_cut(frames: list[tuple[int, bytes]], places: list[int]) -> None:
    stream = b"".join(frame(*each) for each in frames)
    reader = FrameReader(LIMIT)
    received = [each for piece in cut(stream, places) for each in reader.receive(piece, ROOM)]
    assert received == frames
    assert not reader.has_surplus


@given(frames_strategy.filter(bool))
def test_truncation_at_every_byte_loses_nothing(frames: list[tuple[int, bytes]]) -> None:
    stream = b"".join(frame(*each) for each in frames)
    for end in range(len(stream)):
        reader = FrameReader(LIMIT)
        before = reader.receive(stream[:end], ROOM)
        assert before == frames[: len(before)]
        assert before != frames
        assert before + reader.receive(stream[end:], ROOM) == frames


@given(frames_strategy, st.lists(st.integers(min_value=0), max_size=6), st.lists(st.integers(0, 3), max_size=40))
def test_room_is_kept_and_the_rest_comes_later(
    frames: list[tuple[int, bytes]], places: list[int], rooms: list[int]
) -> None:
    stream = b"".join(frame(*each) for each in frames)
    reader = FrameReader(LIMIT)
    received: list[tuple[int, bytes]] = []
    room = iter(rooms)
    for piece in cut(stream, places):
        allowed = next(room, ROOM)
        got = reader.receive(piece, allowed)
        assert len(got) <= allowed
        received += got
    while reader.has_surplus:
        got = reader.receive(b"", 1)
        received += got
        if not got:
            break
    assert received == frames


def test_no_room_is_told_apart_from_a_frame_that_is_not_all_there() -> None:
    reader = FrameReader(LIMIT)
    assert reader.receive(frame(1, b"abc")[:-1], ROOM) == []
    assert not reader.has_surplus
    assert reader.receive(b"c" + frame(2, b"d"), 1) == [(1, b"abc")]
    assert reader.has_surplus
    assert reader.receive(b"", 1) == [(2, b"d")]
    assert not reader.has_surplus


def test_a_large_frame_in_small_pieces_grows_in_place() -> None:
    size = 8_000_000
    body = bytes(range(250)) * (size // 250)
    stream = frame(9, body)
    reader = FrameReader(size)
    growing = reader._body
    for start in range(0, len(stream) - 1000, 1000):
        assert reader.receive(stream[start : start + 1000], ROOM) == []
        assert reader._body is growing
        assert reader._buffer == b""
    assert reader.receive(stream[start + 1000 :], ROOM) == [(9, body)]


def test_one_frame_at_a_time_out_of_a_large_chunk_copies_it_only_once() -> None:
    frames = [(token, b"x" * 20) for token in range(20_000)]
    reader = FrameReader(LIMIT)
    received = reader.receive(b"".join(frame(*each) for each in frames), 1)
    buffer = reader._buffer
    for _ in range(1000):
        received += reader.receive(b"", 1)
        assert reader._buffer is buffer
    assert received == frames[:1001]


def test_frame_of_exactly_the_limit_is_accepted() -> None:
    reader = FrameReader(LIMIT)
    assert reader.receive(frame(1, b"x" * LIMIT), ROOM) == [(1, b"x" * LIMIT)]
    assert reader.rejected is None


@pytest.mark.parametrize("step", [1, 7, 500, 5000])
def test_frame_beyond_the_limit_is_read_to_its_end_and_then_rejected(step: int) -> None:
    reader = FrameReader(LIMIT)
    stream = frame(7, b"x" * (LIMIT + 1))
    for start in range(0, len(stream), step):
        assert reader.rejected is None
        assert reader.receive(stream[start : start + step], ROOM) == []
    assert reader.rejected == TooLong(7, LIMIT + 1)


def test_frames_before_one_beyond_the_limit_are_delivered_and_nothing_after_it() -> None:
    reader = FrameReader(LIMIT)
    stream = frame(1, b"good") + frame(2, b"x" * 2000) + frame(3, b"late")
    assert reader.receive(stream, ROOM) == [(1, b"good")]
    assert reader.rejected == TooLong(2, 2000)
    assert reader.receive(frame(4, b"later"), ROOM) == []


def test_what_is_thrown_away_is_not_kept() -> None:
    reader = FrameReader(LIMIT)
    reader.receive(HEADER.pack(7, DISCARD_LIMIT_BYTES - 1), ROOM)
    for _ in range(10):
        reader.receive(b"x" * 100_000, ROOM)
    assert reader.rejected is None
    assert len(reader._buffer) + len(reader._body) == 0


def test_a_gigabyte_is_not_waited_for() -> None:
    reader = FrameReader(LIMIT)
    reader.receive(HEADER.pack(7, DISCARD_LIMIT_BYTES) + b"abc", ROOM)
    assert reader.rejected == TooLong(7, DISCARD_LIMIT_BYTES)


def test_response_to_a_frame_beyond_the_limit() -> None:
    assert orjson.loads(too_long_response(TooLong(7, 2000), 1000)) == {
        "t": 16,
        "r": ["Query size (2000) greater than maximum (1000)."],
        "b": [],
    }
