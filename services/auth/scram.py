"""SCRAM-SHA-256 (RFC 5802, RFC 7677) as RethinkDB speaks it, which reports errors by numbers of its own.

Pure functions: nonces and credentials are given, nothing is remembered.
"""

from __future__ import annotations

import base64
import binascii
import enum
import re
from dataclasses import dataclass

from photondb.api.auth import AuthenticationFailed
from services.auth.credentials import Credentials
from services.auth.saslprep import saslprep

NONCE_BYTES = 18


class Code(enum.IntEnum):
    """RethinkDB's numbers for the errors of RFC 5802. Drivers take 10 to 20 for a failed authentication."""

    INVALID_ENCODING = 10
    EXTENSIONS_NOT_SUPPORTED = 11
    INVALID_PROOF = 12
    CHANNEL_BINDING_NOT_SUPPORTED = 15
    UNKNOWN_USER = 17
    INVALID_USERNAME_ENCODING = 18
    NO_RESOURCES = 19
    OTHER_ERROR = 20


@dataclass(frozen=True)
class ClientFirst:
    """The client's first message: the user, its nonce, and the part that the proof covers."""

    user: str
    nonce: str
    bare: str


@dataclass(frozen=True)
class Exchange:
    """What the server knows after its first message. `is_known` is False for a user that does not exist."""

    user: str
    is_known: bool
    credentials: Credentials
    client_first_bare: str
    nonce: str
    server_first: str


def read_client_first(message: str) -> ClientFirst:
    """Read the client's first message. Raises AuthenticationFailed."""
    if not message.startswith("n,"):
        raise AuthenticationFailed("Channel binding is not supported", Code.CHANNEL_BINDING_NOT_SUPPORTED)
    identity_end = message.find(",", 2)
    if identity_end < 0:
        raise _invalid_encoding()
    bare = message[identity_end + 1 :]
    attributes = _attributes(bare, allowed="nr")
    return ClientFirst(prepare_name(_unescape(attributes["n"])), attributes["r"], bare)


def begin(first: ClientFirst, is_known: bool, credentials: Credentials, server_nonce: bytes) -> Exchange:
    """Answer the client's first message with the server's, which is in the result."""
    nonce = first.nonce + base64.b64encode(server_nonce).decode()
    salt = base64.b64encode(credentials.salt).decode()
    server_first = f"r={nonce},s={salt},i={credentials.iterations}"
    return Exchange(first.user, is_known, credentials, first.bare, nonce, server_first)


def finish(exchange: Exchange, message: str) -> str:
    """Check the client's final message and return the server's. Raises AuthenticationFailed.

    The order of the checks is RethinkDB's: a wrong nonce with a wrong proof is a wrong password. But that a user does
    not exist is found out where a password would be found wrong: what goes before must not tell it.
    """
    attributes = _attributes(message, allowed="cpr")
    if attributes["c"] != "biws":  # the base64 of "n,,", which is how every driver's first message begins
        raise _invalid_encoding()
    without_proof = message.split(",p=", 1)[0]
    auth_message = ",".join((exchange.client_first_bare, exchange.server_first, without_proof)).encode()
    matches = exchange.credentials.matches_proof(_proof(attributes["p"]), auth_message)
    if not exchange.is_known:
        raise AuthenticationFailed("Unknown user", Code.UNKNOWN_USER)
    if not matches:
        raise wrong_password()
    if attributes["r"] != exchange.nonce:
        raise AuthenticationFailed("Other error", Code.OTHER_ERROR)
    return "v=" + base64.b64encode(exchange.credentials.server_signature(auth_message)).decode()


def prepare_name(name: str) -> str:
    """A user's name in its one spelling. Raises AuthenticationFailed when it cannot be a name."""
    try:
        name.encode()
        prepared = saslprep(name)
    except ValueError:
        raise AuthenticationFailed("Invalid username encoding", Code.INVALID_USERNAME_ENCODING) from None
    if not prepared:
        raise AuthenticationFailed("Empty username", Code.INVALID_USERNAME_ENCODING)
    return prepared


def wrong_password() -> AuthenticationFailed:
    """The error for a password that is not the user's."""
    return AuthenticationFailed("Wrong password", Code.INVALID_PROOF)


def _invalid_encoding() -> AuthenticationFailed:
    return AuthenticationFailed("Invalid encoding", Code.INVALID_ENCODING)


def _attributes(message: str, allowed: str) -> dict[str, str]:
    """The attributes of a message: exactly those of `allowed`, one letter each."""
    attributes: dict[str, str] = {}
    for attribute in message.removesuffix(",").split(","):
        name, equals, value = attribute.partition("=")
        if not equals or len(name) != 1 or name in attributes:
            raise _invalid_encoding()
        attributes[name] = value
    if "m" in attributes and all(name in allowed for name in attributes if name < "m"):
        raise AuthenticationFailed("Extensions not supported", Code.EXTENSIONS_NOT_SUPPORTED)
    if set(attributes) != set(allowed):
        raise _invalid_encoding()
    return attributes


def _unescape(name: str) -> str:
    """Undo the escapes of a name: `=2C` is a comma and `=3D` an equals sign."""
    if re.search("=(?!2C|3D)", name):
        raise AuthenticationFailed("Invalid username encoding", Code.INVALID_USERNAME_ENCODING)
    return name.replace("=2C", ",").replace("=3D", "=")


def _proof(text: str) -> bytes:
    """The proof, or nothing (which proves nothing) for what is no base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
