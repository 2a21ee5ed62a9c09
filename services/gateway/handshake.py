"""The handshake that opens a driver connection, as a state machine without sockets.

Bytes go into `receive`, and what is to be done comes out: bytes to send, a question for `auth` (whose answer is given
back with `accept_password`, `challenge`, `accept_proof` or `refuse`), and at the end who the client is. Codes and
texts of errors are RethinkDB's, because drivers show them and some compare them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

import orjson

from photondb.api.auth import AuthenticationFailed, ScramChallenge, ScramOutcome

V0_1 = 0x3F61BA36
V0_2 = 0x723081E1
V0_3 = 0x5F75E83E
V0_4 = 0x400C2D20
V1_0 = 0x34C2BDC3
MAGIC_NUMBERS = frozenset((V0_1, V0_2, V0_3, V0_4, V1_0))
"""Those of `VersionDummy.Version` in RethinkDB's ql2.proto. A client's first four bytes are one."""

PROTOBUF = 0x271FFC41
JSON = 0x7E6970C7
"""`VersionDummy.Protocol`."""

MAX_KEY_BYTES = 2048
MAX_MESSAGE_BYTES = 2047
"""Of the authorization key of V0_3 and V0_4, and of a JSON message of V1_0 with its null."""

NO_RESOURCES = 19
"""The SCRAM error for a server that cannot take one more client (RFC 5802: no-resources)."""

OTHER_ERROR = 20
"""The SCRAM error for a login that is refused for another reason (RFC 5802: other-error)."""

_HTTP_METHODS = frozenset((b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC", b"PRI "))

_HTTP_BODY = b"This is the port for RethinkDB drivers, not for HTTP. Point your client at the HTTP port.\n"
_HTTP_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(_HTTP_BODY), _HTTP_BODY)
)

_WRONG_MAGIC = (
    "Received an unsupported protocol version. This port is for RethinkDB queries. Does your client driver version "
    "not match the server?"
)
_NO_PROTOBUF = "The PROTOBUF client protocol is no longer supported"


@dataclass(frozen=True)
class Send:
    """Send these bytes to the client."""

    data: bytes


@dataclass(frozen=True)
class CheckPassword:
    """Ask auth whether this is the password of `admin` (V0_3 and V0_4 have no users, only this key)."""

    password: str


@dataclass(frozen=True)
class BeginScram:
    """Ask auth to begin a SCRAM exchange with the client's first message."""

    client_first: str


@dataclass(frozen=True)
class FinishScram:
    """Ask auth to check the client's final message in the exchange."""

    exchange: str
    client_final: str


@dataclass(frozen=True)
class Established:
    """The client is `user`. `rest` is what it has sent beyond the handshake; frames begin there.

    `one_at_a_time` says that the driver (V0_3) expects its answers in the order of its queries.
    """

    user: str
    rest: bytes
    one_at_a_time: bool


@dataclass(frozen=True)
class Close:
    """Nothing more will be read: send these bytes and close."""

    data: bytes


Action = Send | CheckPassword | BeginScram | FinishScram | Established | Close


class HandshakeError(Exception):
    """The handshake cannot go on. `code` is told to V1_0 clients only."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class _State(enum.Enum):
    MAGIC = enum.auto()
    KEY_LENGTH = enum.auto()
    KEY = enum.auto()
    CHECKING_KEY = enum.auto()
    PROTOCOL = enum.auto()
    FIRST_MESSAGE = enum.auto()
    BEGINNING_SCRAM = enum.auto()
    FINAL_MESSAGE = enum.auto()
    FINISHING_SCRAM = enum.auto()
    DONE = enum.auto()


_WAITING_FOR_AUTH = (_State.CHECKING_KEY, _State.BEGINNING_SCRAM, _State.FINISHING_SCRAM)


class Handshake:
    """One connection's handshake.

    `refusal` is the error for a client that is to be turned away whatever it sends, None for one that is welcome. Every
    method returns the actions to carry out, in order. While a question is with auth, bytes are kept for later.
    """

    def __init__(self, server_version: str, refusal: HandshakeError | None = None) -> None:
        self._server_version = server_version
        self._refusal = refusal
        self._state = _State.MAGIC
        self._buffer = b""
        self._version = 0
        self._key_length = 0
        self._exchange = ""
        self._user = ""

    @property
    def waits_for_auth(self) -> bool:
        """Whether the next step is auth's, so that reading more from the client is of no use."""
        return self._state in _WAITING_FOR_AUTH

    def receive(self, data: bytes) -> list[Action]:
        """Go on with bytes that the client sent."""
        self._buffer += data
        return self._advance([])

    def accept_password(self, user: str) -> list[Action]:
        """Auth says that the key is right, and that its owner is `user`."""
        assert self._state is _State.CHECKING_KEY
        self._user = user
        self._state = _State.PROTOCOL
        return self._advance([])

    def challenge(self, challenge: ScramChallenge) -> list[Action]:
        """Auth's first message of the SCRAM exchange."""
        assert self._state is _State.BEGINNING_SCRAM
        self._exchange = challenge.exchange
        self._state = _State.FINAL_MESSAGE
        return self._advance([Send(_message({"authentication": challenge.server_first, "success": True}))])

    def accept_proof(self, outcome: ScramOutcome) -> list[Action]:
        """Auth says that the client has proved who it is."""
        assert self._state is _State.FINISHING_SCRAM
        self._user = outcome.user
        return [Send(_message({"authentication": outcome.server_final, "success": True})), self._establish()]

    def refuse(self, reason: AuthenticationFailed) -> list[Action]:
        """Auth does not let the client in."""
        assert self.waits_for_auth
        if self._state is _State.CHECKING_KEY:
            return [self._close(HandshakeError(-1, "Incorrect authorization key."))]
        return [self._close(HandshakeError(reason.code, reason.message))]

    def fail(self, code: int, text: str) -> list[Action]:
        """End the handshake for a reason of the server's own."""
        return [self._close(HandshakeError(code, text))]

    def _advance(self, actions: list[Action]) -> list[Action]:
        """Take steps for as long as the bytes that are there suffice."""
        try:
            while (action := self._step()) is not None:
                actions += action
        except HandshakeError as error:
            actions.append(self._close(error))
        return actions

    def _step(self) -> list[Action] | None:
        """One step and its actions, or None when it needs more than there is."""
        match self._state:
            case _State.MAGIC:
                return self._read_magic()
            case _State.KEY_LENGTH:
                return self._read_key_length()
            case _State.KEY:
                return self._read_key()
            case _State.PROTOCOL:
                return self._read_protocol()
            case _State.FIRST_MESSAGE:
                return self._read_first_message()
            case _State.FINAL_MESSAGE:
                return self._read_final_message()
            case _:
                return None

    def _read_magic(self) -> list[Action] | None:
        word = self._take(4)
        if word is None:
            return None
        if word in _HTTP_METHODS:
            self._state = _State.DONE
            return [Close(_HTTP_ANSWER)]
        magic = int.from_bytes(word, "little")
        if magic in (V0_1, V0_2):
            raise HandshakeError(-1, _NO_PROTOBUF)
        if magic not in (V0_3, V0_4, V1_0):
            raise HandshakeError(-1, _WRONG_MAGIC)
        self._version = magic
        if self._refusal is not None:
            raise self._refusal
        if magic != V1_0:
            self._state = _State.KEY_LENGTH
            return []
        self._state = _State.FIRST_MESSAGE
        greeting = {
            "max_protocol_version": 0,
            "min_protocol_version": 0,
            "server_version": self._server_version,
            "success": True,
        }
        return [Send(_message(greeting))]

    def _read_key_length(self) -> list[Action] | None:
        word = self._take(4)
        if word is None:
            return None
        self._key_length = int.from_bytes(word, "little")
        if self._key_length > MAX_KEY_BYTES:
            raise HandshakeError(-1, "Client provided an authorization key that is too long.")
        self._state = _State.KEY
        return []

    def _read_key(self) -> list[Action] | None:
        key = self._take(self._key_length)
        if key is None:
            return None
        try:
            password = key.decode()
        except UnicodeDecodeError:
            raise HandshakeError(-1, "Incorrect authorization key.") from None
        self._state = _State.CHECKING_KEY
        return [CheckPassword(password)]

    def _read_protocol(self) -> list[Action] | None:
        word = self._take(4)
        if word is None:
            return None
        protocol = int.from_bytes(word, "little")
        if protocol == PROTOBUF:
            raise HandshakeError(-1, _NO_PROTOBUF)
        if protocol != JSON:
            signed = int.from_bytes(word, "little", signed=True)
            raise HandshakeError(-1, f"Unrecognized protocol specified: '{signed}'")
        return [Send(b"SUCCESS\0"), self._establish()]

    def _read_first_message(self) -> list[Action] | None:
        message = self._take_message()
        if message is None:
            return None
        protocol_version = message.get("protocol_version")
        if isinstance(protocol_version, bool) or not isinstance(protocol_version, int | float):
            raise HandshakeError(1, "Expected a number for `protocol_version`.")
        if protocol_version != 0:
            raise HandshakeError(2, "Unsupported `protocol_version`.")
        method = message.get("authentication_method")
        if not isinstance(method, str):
            raise HandshakeError(3, "Expected a string for `authentication_method`.")
        if method != "SCRAM-SHA-256":
            raise HandshakeError(4, "Unsupported `authentication_method`.")
        client_first = _authentication(message)
        self._state = _State.BEGINNING_SCRAM
        return [BeginScram(client_first)]

    def _read_final_message(self) -> list[Action] | None:
        message = self._take_message()
        if message is None:
            return None
        client_final = _authentication(message)
        self._state = _State.FINISHING_SCRAM
        return [FinishScram(self._exchange, client_final)]

    def _establish(self) -> Established:
        rest, self._buffer = self._buffer, b""
        self._state = _State.DONE
        return Established(self._user, rest, one_at_a_time=self._version == V0_3)

    def _close(self, error: HandshakeError) -> Close:
        self._state = _State.DONE
        if self._version == V1_0:
            return Close(_message({"error": error.text, "error_code": error.code, "success": False}))
        return Close(f"ERROR: {error.text}\n".encode() + b"\0")

    def _take(self, count: int) -> bytes | None:
        if len(self._buffer) < count:
            return None
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _take_message(self) -> dict[str, Any] | None:
        """A JSON object that ends with a null, once it is all there."""
        end = self._buffer.find(b"\0", 0, MAX_MESSAGE_BYTES)
        if end < 0:
            if len(self._buffer) >= MAX_MESSAGE_BYTES:
                raise HandshakeError(7, "Limited read buffer size.")
            return None
        text, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise HandshakeError(8, "Invalid JSON object.") from None
        if not isinstance(message, dict):
            raise HandshakeError(9, "Failed to convert JSON to datum.")
        return message


def _authentication(message: dict[str, Any]) -> str:
    authentication = message.get("authentication")
    if not isinstance(authentication, str):
        raise HandshakeError(5, "Expected a string for `authentication`.")
    return authentication


def _message(fields: dict[str, Any]) -> bytes:
    """A message of V1_0: JSON and a null. The fields stand in RethinkDB's order, which is that of their names."""
    return orjson.dumps(fields) + b"\0"
