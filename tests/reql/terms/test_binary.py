from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rethinkdb import r

from photondb.datum.binary import make_binary
from photondb.datum.types import MAXVAL, MINVAL
from tests.reql.evaluate import evaluate, failure


@given(st.binary())
def test_binaries_come_from_clients_and_stay_what_they_are(data: bytes) -> None:
    assert evaluate(r.binary(data)) == evaluate(r.binary(r.binary(data))) == make_binary(data)


def test_binaries_are_made_of_strings_only() -> None:
    assert evaluate(r.binary(r.expr("é"))) == make_binary(b"\xc3\xa9")
    for value, name in ((1, "NUMBER"), ({}, "OBJECT"), ([], "ARRAY")):
        assert failure(r.binary(r.expr(value))).message == f"Expected type STRING but found {name}."


def test_the_extremes_evaluate_to_themselves() -> None:
    assert evaluate(r.minval) is MINVAL
    assert evaluate(r.expr([r.maxval]))[0] is MAXVAL
