from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photondb.datum.binary import (
    binary_bytes,
    binary_slice,
    decode_base64,
    encode_base64,
    make_binary,
    sanitise_binary,
)
from photondb.datum.errors import DatumError
from photondb.datum.order import compare


@given(st.binary(max_size=300))
def test_bytes_come_back(data: bytes) -> None:
    value = make_binary(data)
    assert binary_bytes(value) == data
    assert base64.b64decode(value["data"]) == data
    before = dict(value)
    sanitise_binary(value)
    assert value == before


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_binaries_compare_by_their_bytes(left: bytes, right: bytes) -> None:
    assert compare(make_binary(left), make_binary(right)) == (left > right) - (left < right)


@pytest.mark.parametrize(("size", "lines"), [(0, 1), (57, 1), (58, 2), (114, 2), (115, 3)])
def test_base64_is_written_in_lines(size: int, lines: int) -> None:
    text = encode_base64(b"x" * size).split("\r\n")
    assert len(text) == lines
    assert all(len(line) == 76 for line in text[:-1])


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("", b""),
        ("YQ==", b"a"),
        ("YQ", b"a"),
        ("YWI=", b"ab"),
        ("YWI", b"ab"),
        (" Y\r\nW\tJ j", b"abc"),
        ("YQ= =\n", b"a"),
        ("YWJj=", b"abc"),
        ("=", b""),
    ],
)
def test_white_space_and_padding_do_not_matter(text: str, data: bytes) -> None:
    assert decode_base64(text) == data


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ABCDEFGH==AA", "Invalid base64 format, data found after padding character '='."),
        ("ABCDEF==$", "Invalid base64 format, data found after padding character '='."),
        ("A^CDEFGH", "Invalid base64 character found: '^'."),
        ("ABé", "Invalid base64 character found: 'é'."),
        ("AB-_", "Invalid base64 character found: '-'."),
        ("ABCDE", "Invalid base64 length: 1 character remaining, cannot decode a full byte."),
        ("ABCDE===", "Invalid base64 length: 1 character remaining, cannot decode a full byte."),
    ],
)
def test_other_texts_are_not_base64(text: str, message: str) -> None:
    with pytest.raises(DatumError) as caught:
        decode_base64(text)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "Invalid binary pseudotype: lacking `data` key."),
        ({"data": "", "more": 1}, "Invalid binary pseudotype: illegal `more` key."),
        ({"data": 5}, "Expected type STRING but found NUMBER."),
    ],
)
def test_objects_must_have_the_data_and_no_other_field(fields: dict[str, object], message: str) -> None:
    with pytest.raises(DatumError) as caught:
        sanitise_binary({"$reql_type$": "BINARY", **fields})
    assert caught.value.message == message


@given(st.binary(max_size=100), st.integers(-120, 120), st.integers(-120, 120))
def test_slices_are_those_of_the_bytes(data: bytes, start: int, stop: int) -> None:
    assert binary_bytes(binary_slice(make_binary(data), start, stop)) == data[start:stop]
