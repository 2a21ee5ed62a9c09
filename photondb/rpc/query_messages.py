"""How batches of queries and of answers are written: in columns, as schemas/query.capnp says.

Columns are lists by their names. Where payloads are short and the peer reads it, they go as one MessagePack map: of
Cap'n Proto's lists each costs a microsecond at either end, and each of their elements another tenth of one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from photondb.api.context import CallContext, SpanNames
from photondb.api.query import Answer, Request, RequestKind
from photondb.rpc.limits import PIECE_BYTES, REQUEST_BYTES

T = TypeVar("T")

_KINDS: list[RequestKind] = ["query", "end_session"]
_NUMBER_OF_KIND: dict[RequestKind, int] = {kind: number for number, kind in enumerate(_KINDS)}


Columns = Mapping[str, Any]

_REQUEST_COLUMNS = (
    *("sessions", "tokens", "payloads", "kinds", "deadlinesMs", "requestIds", "users", "clients"),
    "traced",
)
_ANSWER_COLUMNS = ("sessions", "tokens", "payloads", "unfinished")

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, Any]).decode


PACKED_BYTES = 4096
"""Of payloads that are longer on average the columns are not packed: to copy them twice more would take longer."""


def message(columns: Columns, packed: bool) -> Columns:
    """What a `Requests` or an `Answers` is set to, to have these columns, for a peer that reads packed ones or not."""
    payloads = columns["payloads"]
    if packed and sum(map(len, payloads)) <= PACKED_BYTES * max(len(payloads), 1):
        return {"packed": _encode(columns)}
    return columns


def _columns(reader: Any, names: Sequence[str]) -> Columns:
    """The columns of a `Requests` or an `Answers`."""
    packed = reader.packed
    if packed:
        return _decode(packed)
    columns = {name: getattr(reader, name) for name in names}
    return {name: column if type(column) is bool else list(column) for name, column in columns.items()}


def batches(requests: Sequence[Request]) -> Iterator[Sequence[Request]]:
    """The requests in batches of at most REQUEST_BYTES, or of one request that is longer."""
    if sum([len(request.payload) for request in requests]) <= REQUEST_BYTES:
        yield requests
        return
    start = size = 0
    for position, request in enumerate(requests):
        size += len(request.payload)
        if size > REQUEST_BYTES and position > start:
            yield requests[start:position]
            start, size = position, len(request.payload)
    yield requests[start:]


def write_requests(requests: Sequence[Request], traced: Sequence[int] = ()) -> Columns:
    """The columns of requests, of which those at the positions `traced` are; without those that are not needed."""
    columns: dict[str, Any] = {
        "sessions": [request.session for request in requests],
        "tokens": [request.token for request in requests],
        "payloads": [request.payload for request in requests],
    }
    contexts = _narrowed([request.context for request in requests])
    columns["users"] = _narrowed([context.user for context in contexts])
    for context in contexts:
        if context.deadline is not None or context.request_id:
            columns["deadlinesMs"] = _narrowed([_deadline_ms(context) for context in contexts])
            columns["requestIds"] = _narrowed([context.request_id for context in contexts])
            break
    for request in requests:
        if request.client or request.kind != "query":
            columns["kinds"] = _narrowed([_NUMBER_OF_KIND[request.kind] for request in requests])
            columns["clients"] = _narrowed([request.client for request in requests])
            break
    if traced:
        columns["traced"] = list(traced)
    return columns


def traced_positions(requests: Sequence[Request]) -> list[int]:
    """Where in a batch those are that are traced."""
    return [position for position, request in enumerate(requests) if request.span is not None]


def spans_at(requests: Sequence[Request], traced: Sequence[int]) -> SpanNames:
    """The spans of the requests at these positions."""
    return tuple([span for position in traced if (span := requests[position].span) is not None])


def read_requests(reader: Any, context: CallContext) -> list[Request]:
    """What a `Requests` holds that came in a call with this context."""
    columns = _columns(reader, _REQUEST_COLUMNS)
    get = columns.get
    sessions = columns["sessions"]
    count = len(sessions)
    deadlines_ms, request_ids, users = get("deadlinesMs") or [0], get("requestIds") or [""], get("users") or [""]
    if len(deadlines_ms) == len(request_ids) == len(users) == 1:
        contexts = [_context(deadlines_ms[0], request_ids[0], users[0])] * count
    else:
        by_context = (deadlines_ms, request_ids, users)
        contexts = list(map(_context, *(_widened(column, count) for column in by_context)))
    requests = list(map(Request, sessions, columns["tokens"], columns["payloads"], contexts))
    kinds, clients = get("kinds") or [0], get("clients") or [""]
    if kinds != [0] or clients != [""]:
        for request, kind, client in zip(requests, _widened(kinds, count), _widened(clients, count), strict=True):
            request.kind = _KINDS[kind]
            request.client = client
    if context.spans:
        for position, span in zip(columns["traced"], context.spans, strict=True):
            requests[position].span = span
    return requests


def _context(deadline_ms: int, request_id: str, user: str) -> CallContext:
    deadline = time.monotonic() + deadline_ms / 1000 if deadline_ms else None
    return CallContext((), deadline, request_id, user)


def _deadline_ms(context: CallContext) -> int:
    """The milliseconds that remain; 0 without a deadline. One that has passed has 1, and so passes there at once."""
    remaining_ms = context.remaining_ms()
    return 0 if remaining_ms is None else max(1, remaining_ms)


def _narrowed(column: list[T]) -> list[T]:
    """A column as it is written: one entry where all are equal."""
    return column[:1] if column and column.count(column[0]) == len(column) else column


def _widened(column: list[T], count: int) -> list[T]:
    """A column as it is meant: its one entry, `count` times."""
    return column * count if len(column) == 1 else column


class AnswerPacket(msgspec.Struct):
    """Answers that travel in one message. `unfinished`: the last payload goes on in a later packet."""

    answers: Sequence[Answer] = ()
    unfinished: bool = False


def packets(answers: Sequence[Answer]) -> list[AnswerPacket]:
    """Spread answers over packets of at most PIECE_BYTES. Longer ones are cut into pieces, of which the first begins a
    packet."""
    if sum([len(answer.payload) for answer in answers]) <= PIECE_BYTES:
        return [AnswerPacket(answers)] if answers else []
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


def packet_spans(packet: AnswerPacket) -> SpanNames:
    """The spans of those of the queries that are traced and have the last of their answer in the packet."""
    whole = packet.answers[:-1] if packet.unfinished else packet.answers
    return tuple([answer.span for answer in whole if answer.span is not None])


def _pieces(answer: Answer) -> list[Answer]:
    payload = answer.payload
    if len(payload) <= PIECE_BYTES:
        return [answer]
    starts = range(0, len(payload), PIECE_BYTES)
    return [Answer(answer.session, answer.token, payload[start : start + PIECE_BYTES], answer.span) for start in starts]


def write_answers(packet: AnswerPacket) -> Columns:
    """The columns of answers."""
    columns: dict[str, Any] = {
        "sessions": [answer.session for answer in packet.answers],
        "tokens": [answer.token for answer in packet.answers],
        "payloads": [answer.payload for answer in packet.answers],
    }
    if packet.unfinished:
        columns["unfinished"] = True
    return columns


class AnswerAssembly:
    """Puts answers together that came in pieces."""

    def __init__(self) -> None:
        self._pieces: dict[tuple[int, int], list[bytes]] = {}

    def add(self, reader: Any) -> list[Answer]:
        """The answers that the packet in an `Answers` completes, in order."""
        columns = _columns(reader, _ANSWER_COLUMNS)
        answers = list(map(Answer, columns["sessions"], columns["tokens"], columns["payloads"]))
        if columns.get("unfinished"):
            piece = answers.pop()
            self._pieces.setdefault((piece.session, piece.token), []).append(piece.payload)
        if self._pieces:
            for answer in answers:
                pieces = self._pieces.pop((answer.session, answer.token), ())
                answer.payload = b"".join([*pieces, answer.payload])
        return answers
