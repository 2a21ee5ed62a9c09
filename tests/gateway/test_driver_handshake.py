"""The handshake machine: each version, each refusal, each way to cut the bytes."""

from __future__ import annotations

import struct
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photondb.api.auth import AuthenticationFailed, ScramChallenge, ScramOutcome
from services.gateway.handshake import (
    JSON,
    NO_RESOURCES,
    PROTOBUF,
    V0_1,
    V0_2,
    V0_3,
    V0_4,
    V1_0,
    Action,
    BeginScram,
    CheckPassword,
    Close,
    Established,
    FinishScram,
    Handshake,
    HandshakeError,
    Send,
)

GREETING = b'{"max_protocol_version":0,"min_protocol_version":0,"server_version":"2.4.4","success":true}\0'
FIRST = {"protocol_version": 0, "authentication_method": "SCRAM-SHA-256", "authentication": "n,,n=bob,r=abc"}
FINAL = {"authentication": "c=biws,r=abcdef,p=proof"}


def word(number: int) -> bytes:
    return struct.pack("<I", number)


def old(version: int, key: bytes = b"", protocol: int = JSON) -> bytes:
    return word(version) + word(len(key)) + key + word(protocol)


def message(fields: Any) -> bytes:
    return orjson.dumps(fields) + b"\0"


def error_of(actions: list[Action]) -> Any:
    """The error that a V1_0 client is told when it is turned away."""
    last = actions[-1]
    assert isinstance(last, Close)
    assert last.data.endswith(b"\0")
    return orjson.loads(last.data[:-1])


def begun() -> Handshake:
    machine = Handshake("2.4.4")
    assert machine.receive(word(V1_0)) == [Send(GREETING)]
    return machine


def with_auth(machine: Handshake, actions: list[Action]) -> list[Action]:
    """Answer every question as an auth that lets everybody in, and return all actions."""
    seen: list[Action] = []
    while actions:
        action = actions.pop(0)
        seen.append(action)
        match action:
            case CheckPassword():
                actions += machine.accept_password("admin")
            case BeginScram():
                actions += machine.challenge(ScramChallenge("exchange", "r=abcdef,s=c2FsdA==,i=4096"))
            case FinishScram():
                actions += machine.accept_proof(ScramOutcome("v=signature", "bob"))
    return seen


V1_0_STREAM = word(V1_0) + message(FIRST) + message(FINAL) + b"frames"
V1_0_ACTIONS = [
    Send(GREETING),
    BeginScram("n,,n=bob,r=abc"),
    Send(b'{"authentication":"r=abcdef,s=c2FsdA==,i=4096","success":true}\0'),
    FinishScram("exchange", "c=biws,r=abcdef,p=proof"),
    Send(b'{"authentication":"v=signature","success":true}\0'),
    Established("bob", b"frames", one_at_a_time=False),
]
V0_4_STREAM = old(V0_4, b"hunter2") + b"frames"
V0_4_ACTIONS = [
    CheckPassword("hunter2"),
    Send(b"SUCCESS\0"),
    Established("admin", b"frames", one_at_a_time=False),
]


@pytest.mark.parametrize(("stream", "expected"), [(V1_0_STREAM, V1_0_ACTIONS), (V0_4_STREAM, V0_4_ACTIONS)])
def test_a_handshake_sent_at_once(stream: bytes, expected: list[Action]) -> None:
    machine = Handshake("2.4.4")
    assert with_auth(machine, machine.receive(stream)) == expected


@pytest.mark.parametrize(("stream", "expected"), [(V1_0_STREAM, V1_0_ACTIONS), (V0_4_STREAM, V0_4_ACTIONS)])
@given(data=st.data())
def test_a_handshake_cut_anywhere(stream: bytes, expected: list[Action], data: st.DataObject) -> None:
    length = len(stream) - len(b"frames")
    places = data.draw(st.lists(st.integers(0, length), max_size=20).map(sorted))
    machine = Handshake("2.4.4")
    seen: list[Action] = []
    for start, end in zip([0, *places], [*places, length], strict=True):
        seen += with_auth(machine, machine.receive(stream[start:end]))
    assert seen[:-1] == expected[:-1]
    established = seen[-1]
    assert isinstance(established, Established)
    assert established.rest == b""


def test_v0_3_wants_its_answers_in_order() -> None:
    machine = Handshake("2.4.4")
    assert with_auth(machine, machine.receive(old(V0_3))) == [
        CheckPassword(""),
        Send(b"SUCCESS\0"),
        Established("admin", b"", one_at_a_time=True),
    ]


def test_the_key_is_checked_before_the_protocol_is_read() -> None:
    machine = Handshake("2.4.4")
    assert machine.receive(word(V0_4) + word(0)) == [CheckPassword("")]
    assert machine.waits_for_auth
    assert machine.receive(word(JSON) + b"more") == []
    assert machine.accept_password("admin") == [Send(b"SUCCESS\0"), Established("admin", b"more", False)]
    assert not machine.waits_for_auth


@pytest.mark.parametrize(
    ("stream", "text"),
    [
        (
            b"\xde\xad\xbe\xef",
            "Received an unsupported protocol version. This port is for RethinkDB queries. Does your client driver "
            "version not match the server?",
        ),
        (word(V0_1), "The PROTOBUF client protocol is no longer supported"),
        (word(V0_2), "The PROTOBUF client protocol is no longer supported"),
        (old(V0_4, protocol=PROTOBUF), "The PROTOBUF client protocol is no longer supported"),
        (old(V0_3, protocol=5), "Unrecognized protocol specified: '5'"),
        (old(V0_4, protocol=0xFFFFFFFE), "Unrecognized protocol specified: '-2'"),
        (word(V0_4) + word(2049), "Client provided an authorization key that is too long."),
        (word(V0_4) + word(1) + b"\xff", "Incorrect authorization key."),
    ],
)
def test_errors_of_the_old_versions(stream: bytes, text: str) -> None:
    machine = Handshake("2.4.4")
    assert with_auth(machine, machine.receive(stream))[-1] == Close(f"ERROR: {text}\n".encode() + b"\0")
    assert machine.receive(b"anything") == []


def test_a_key_of_the_greatest_length() -> None:
    machine = Handshake("2.4.4")
    assert machine.receive(word(V0_4) + word(2048) + b"k" * 2048) == [CheckPassword("k" * 2048)]


def test_a_wrong_key_has_one_text_whatever_auth_says() -> None:
    machine = Handshake("2.4.4")
    machine.receive(old(V0_4, b"wrong"))
    assert machine.refuse(AuthenticationFailed("Wrong password", 12)) == [
        Close(b"ERROR: Incorrect authorization key.\n\0")
    ]


@pytest.mark.parametrize(
    ("first", "code", "text"),
    [
        (b"{\0", 8, "Invalid JSON object."),
        (b"\0", 8, "Invalid JSON object."),
        (b'{"authentication": "\xff\xfe"}\0', 8, "Invalid JSON object."),
        (b"[1]\0", 9, "Failed to convert JSON to datum."),
        (message(FIRST | {"protocol_version": "0"}), 1, "Expected a number for `protocol_version`."),
        (message(FIRST | {"protocol_version": False}), 1, "Expected a number for `protocol_version`."),
        (message({}), 1, "Expected a number for `protocol_version`."),
        (message(FIRST | {"protocol_version": 1}), 2, "Unsupported `protocol_version`."),
        (message(FIRST | {"authentication_method": 7}), 3, "Expected a string for `authentication_method`."),
        (message(FIRST | {"authentication_method": "PLAIN"}), 4, "Unsupported `authentication_method`."),
        (message(FIRST | {"authentication": None}), 5, "Expected a string for `authentication`."),
        (b" " * 2047, 7, "Limited read buffer size."),
        (b" " * 2047 + b"\0", 7, "Limited read buffer size."),
    ],
)
def test_errors_of_the_first_message(first: bytes, code: int, text: str) -> None:
    assert error_of(begun().receive(first)) == {"error": text, "error_code": code, "success": False}


def test_a_first_message_of_the_greatest_length() -> None:
    text = orjson.dumps(FIRST)
    assert begun().receive(text + b" " * (2046 - len(text)) + b"\0") == [BeginScram("n,,n=bob,r=abc")]


def test_a_first_message_may_say_zero_as_a_float() -> None:
    assert begun().receive(message(FIRST | {"protocol_version": 0.0})) == [BeginScram("n,,n=bob,r=abc")]


@pytest.mark.parametrize(
    ("final", "code", "text"),
    [
        (b"nonsense\0", 8, "Invalid JSON object."),
        (message({}), 5, "Expected a string for `authentication`."),
        (message({"authentication": 1}), 5, "Expected a string for `authentication`."),
    ],
)
def test_errors_of_the_final_message(final: bytes, code: int, text: str) -> None:
    machine = begun()
    machine.receive(message(FIRST))
    machine.challenge(ScramChallenge("exchange", "r=abcdef"))
    assert error_of(machine.receive(final)) == {"error": text, "error_code": code, "success": False}


def test_what_auth_refuses_at_the_first_message_is_told() -> None:
    machine = begun()
    machine.receive(message(FIRST))
    assert error_of(machine.refuse(AuthenticationFailed("Channel binding is not supported", 15))) == {
        "error": "Channel binding is not supported",
        "error_code": 15,
        "success": False,
    }


def test_what_auth_refuses_at_the_final_message_is_told() -> None:
    machine = begun()
    machine.receive(message(FIRST))
    machine.challenge(ScramChallenge("exchange", "r=abcdef"))
    machine.receive(message(FINAL))
    assert error_of(machine.refuse(AuthenticationFailed("Wrong password", 12)))["error_code"] == 12
    assert machine.receive(b"more") == []


def test_a_client_that_finds_no_room_is_told_in_its_own_version() -> None:
    refusal = HandshakeError(NO_RESOURCES, "Too many.")
    assert error_of(Handshake("2.4.4", refusal).receive(word(V1_0))) == {
        "error": "Too many.",
        "error_code": 19,
        "success": False,
    }
    assert Handshake("2.4.4", refusal).receive(old(V0_4)) == [Close(b"ERROR: Too many.\n\0")]


def test_the_server_can_end_a_handshake_that_waits_for_auth() -> None:
    machine = begun()
    machine.receive(message(FIRST))
    assert error_of(machine.fail(19, "Not now."))["error"] == "Not now."


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS", "DELETE", "PUT"])
def test_http_on_the_driver_port_is_answered_in_http(method: str) -> None:
    (answer,) = Handshake("2.4.4").receive(f"{method} / HTTP/1.1\r\nHost: db\r\n\r\n".encode())
    assert isinstance(answer, Close)
    head, _, body = answer.data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"RethinkDB drivers" in body


@given(st.binary(max_size=300))
def test_any_bytes_end_in_a_close_or_wait_for_more(stream: bytes) -> None:
    machine = Handshake("2.4.4")
    actions = with_auth(machine, machine.receive(stream))
    assert all(not isinstance(action, Established) for action in actions) or stream[:4] in (word(V0_3), word(V0_4))
