"""Drivers that have connected to the HTTP port: what to tell them. The other way round, the handshake knows."""

from __future__ import annotations

from photondb.http_server import Stranger
from photondb.release import SERVER_VERSION
from services.gateway.handshake import MAGIC_NUMBERS, Close, Handshake, HandshakeError

WRONG_PORT = -1
"""The code of the error. Drivers know none for this; with those of SCRAM they would speak of passwords."""


def answering_drivers(driver_port: int) -> Stranger:
    """What the HTTP port says to drivers: an error of their handshake, which they show."""
    text = f"This is PhotonDB's port for HTTP. Connect drivers to its port for drivers, {driver_port}."

    def answer(first: bytes) -> bytes | None:
        if int.from_bytes(first[:4], "little") not in MAGIC_NUMBERS:
            return None
        actions = Handshake(SERVER_VERSION, HandshakeError(WRONG_PORT, text)).receive(first)
        return b"".join([action.data for action in actions if isinstance(action, Close)])

    return answer
