"""How batches of queries and of answers are written: in columns, as schemas/query.capnp says."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from photondb.api.context import CallContext
from photondb.api.query import Answer, Request, RequestKind
from photondb.rpc.limits import PIECE_BYTES, REQUEST_BYTES

T = TypeVar("T")

_KINDS: list[RequestKind] = ["query", "end_session"]
_NUMBER_OF_KIND: dict[RequestKind, int] = {kind: number for number, kind in enumerate(_KINDS)}


def batches(requests: Sequence[Request]) -> Iterator[Sequence[Request]]:
    """The requests in batches of at most REQUEST_BYTES, or of one request that is longer: mostly all in one."""
    start = size = 0
    for position, request in enumerate(requests):
        size += len(request.payload)
        if size > REQUEST_BYTES and position > start:
            yield requests[start:position]
            start, size = position, len(request.payload)
    yield requests[start:] if start else requests


def write_requests(requests: Sequence[Request]) -> dict[str, Any]:
    """`Requests` of query.capnp."""
    contexts = [request.context for request in requests]
    return {
        "sessions": [request.session for request in requests],
        "tokens": [request.token for request in requests],
        "payloads": [request.payload for request in requests],
        "kinds": _narrowed([_NUMBER_OF_KIND[request.kind] for request in requests]),
        "traceparents": _narrowed([context.traceparent for context in contexts]),
        "deadlinesMs": _narrowed([_deadline_ms(context) for context in contexts]),
        "requestIds": _narrowed([context.request_id for context in contexts]),
        "users": _narrowed([context.user for context in contexts]),
    }


def read_requests(reader: Any) -> list[Request]:
    """What a `Requests` holds."""
    sessions, tokens, payloads = list(reader.sessions), list(reader.tokens), list(reader.payloads)
    count = len(sessions)
    kinds = _widened(reader.kinds, count, 0)
    columns = [
        _widened(reader.traceparents, count, ""),
        _widened(reader.deadlinesMs, count, 0),
        _widened(reader.requestIds, count, ""),
        _widened(reader.users, count, ""),
    ]
    now = time.monotonic()
    contexts = [
        CallContext(traceparent, now + deadline_ms / 1000 if deadline_ms else None, request_id, user)
        for traceparent, deadline_ms, request_id, user in zip(*columns, strict=True)
    ]
    return [
        Request(session, token, payload, context, _KINDS[kind])
        for session, token, payload, context, kind in zip(sessions, tokens, payloads, contexts, kinds, strict=True)
    ]


def _deadline_ms(context: CallContext) -> int:
    """The milliseconds that remain; 0 without a deadline. One that has passed has 1, and so passes there at once."""
    remaining_ms = context.remaining_ms()
    return 0 if remaining_ms is None else max(1, remaining_ms)


def _narrowed(column: list[T]) -> list[T]:
    """A column as it is written: one entry where all are equal."""
    return column[:1] if column and column.count(column[0]) == len(column) else column


def _widened(column: Any, count: int, default: T) -> list[T]:
    """A column as it is meant, with an entry for each of `count` things."""
    values = list(column)
    if len(values) == count:
        return values
    return (values or [default]) * count


class AnswerPacket(msgspec.Struct):
    """Answers that travel in one message. `unfinished`: the last payload goes on in a later packet."""

    answers: Sequence[Answer] = ()
    unfinished: bool = False


def packets(answers: Iterable[Answer]) -> list[AnswerPacket]:
    """Spread answers over packets of at most PIECE_BYTES. Longer ones are cut into pieces, of which the first begins a
    packet."""
    result: list[AnswerPacket] = []
    packet: list[Answer] = []
    room = PIECE_BYTES
    for answer in answers:
        if len(answer.payload) > room and packet:
            result.append(AnswerPacket(packet))
            packet, room = [], PIECE_BYTES
        *pieces, last = _pieces(answer)
        result += [AnswerPacket([piece], unfinished=True) for piece in pieces]
        packet.append(last)
        room -= len(last.payload)
    if packet:
        result.append(AnswerPacket(packet))
    return result


def _pieces(answer: Answer) -> list[Answer]:
    payload = answer.payload
    if len(payload) <= PIECE_BYTES:
        return [answer]
    starts = range(0, len(payload), PIECE_BYTES)
    return [Answer(answer.session, answer.token, payload[start : start + PIECE_BYTES]) for start in starts]


def write_answers(packet: AnswerPacket) -> dict[str, Any]:
    """`Answers` of query.capnp."""
    return {
        "sessions": [answer.session for answer in packet.answers],
        "tokens": [answer.token for answer in packet.answers],
        "payloads": [answer.payload for answer in packet.answers],
        "unfinished": packet.unfinished,
    }


class AnswerAssembly:
    """Puts answers together that came in pieces."""

    def __init__(self) -> None:
        self._pieces: dict[tuple[int, int], list[bytes]] = {}

    def add(self, reader: Any) -> list[Answer]:
        """The answers that the packet in an `Answers` completes, in order."""
        answers = list(map(Answer, reader.sessions, reader.tokens, reader.payloads))
        if reader.unfinished:
            piece = answers.pop()
            self._pieces.setdefault((piece.session, piece.token), []).append(piece.payload)
        if self._pieces:
            for answer in answers:
                pieces = self._pieces.pop((answer.session, answer.token), ())
                answer.payload = b"".join([*pieces, answer.payload])
        return answers
