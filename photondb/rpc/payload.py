"""`Payload` of common.capnp: bytes that may be longer than a message ought to be."""

from __future__ import annotations

from typing import Any

from photondb.api.context import CallContext
from photondb.rpc import schema
from photondb.rpc.limits import PIECE_BYTES
from photondb.rpc.remote import Method, Remote
from photondb.rpc.servant import Call, Handlers, servant

_READ = Method("read")


def write_payload(builder: Any, data: bytes, owner: Handlers) -> None:
    """Fill in a `Payload`. A long one stays here until the peer has read it, or drops it."""
    if len(data) <= PIECE_BYTES:
        builder.whole = data
    else:
        builder.pieces = servant(schema.COMMON.PayloadReader, _PayloadHandlers(owner, data))


async def read_payload(reader: Any, context: CallContext, service: str) -> bytes:
    """All bytes of a `Payload` that `service` gave."""
    if reader.which() == "whole":
        data: bytes = reader.whole
        return data
    remote = Remote(reader.pieces, service)
    pieces = []
    last = False
    while not last:
        piece = (await remote.call(_READ, context)).ok
        pieces.append(piece.data)
        last = piece.last
    return b"".join(pieces)


class _PayloadHandlers(Handlers):
    """`PayloadReader`: gives out bytes piece by piece."""

    unlimited = frozenset({"read"})  # whose data was fetched under the limit

    def __init__(self, owner: Handlers, data: bytes) -> None:
        super().__init__(owner.service, owner.admission)
        self._data = memoryview(data)
        self._position = 0

    async def read(self, call: Call) -> None:
        end = self._position + PIECE_BYTES
        piece = call.results.init("ok")
        piece.data = self._data[self._position : end]
        piece.last = end >= len(self._data)
        self._position = end
