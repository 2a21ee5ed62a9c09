from __future__ import annotations

from typing import Any

import pytest
from rethinkdb import r

from photondb.reql.errors import CompileError, ErrorKind
from tests.reql.evaluate import evaluate, failure

MISSING = r.expr({"a": 1})["b"]
BOOM = r.error("boom")


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (r.branch(True, 1, BOOM), 1),
        (r.branch(False, BOOM, None, BOOM, 2), 2),
        (r.branch(0, 1, 2), 1),
        (r.branch(r.args([False, 1]), 2), 2),
        (r.branch(r.args([True, 1]), BOOM), 1),
        (r.and_(), True),
        (r.or_(), False),
        (r.and_(True, 1, "last"), "last"),
        (r.and_(True, None, BOOM), None),
        (r.or_(False, None, 0, BOOM), 0),
        (r.or_(False, None), None),
        (r.and_(r.args([True, False]), BOOM), False),
        (r.or_(r.args([1]), BOOM), 1),
    ],
)
def test_only_what_is_needed_is_evaluated(query: Any, value: Any) -> None:
    assert evaluate(query) == value


@pytest.mark.parametrize(
    ("query", "message", "frames"),
    [
        (r.branch(True, 1, True, 2), "Cannot call `branch` term with an even number of arguments.", ()),
        (r.branch(r.args([True])), "Expected 3 or more arguments but found 1.", ()),
        (r.branch(r.db("test"), 1, 2), 'Expected type DATUM but found DATABASE:\ndb("test")', (0,)),
        (r.branch(False, 1, r.db("test"), 2, 3), 'Expected type DATUM but found DATABASE:\ndb("test")', (2,)),
        (r.args([1]).do(lambda x: r.add(r.args(x))), "Expected type ARRAY but found NUMBER.", (0, 1, 0, 0)),
    ],
)
def test_what_makes_no_sense_is_refused(query: Any, message: str, frames: tuple[int, ...]) -> None:
    error = failure(query)
    assert (error.kind, error.message, error.frames) == (ErrorKind.LOGIC, message, frames)


def test_a_branch_needs_three_arguments() -> None:
    error = failure([65, [True, 1]])
    assert isinstance(error, CompileError)
    assert error.message == "Expected 3 or more arguments but found 2."


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (r.expr(1).default(BOOM), 1),
        (r.expr(False).default(2), False),
        (r.expr(None).default(2), 2),
        (MISSING.default(2), 2),
        ((MISSING + 1).default(2), 2),
        (MISSING.default(lambda message: message.slice(0, 16)), "No attribute `b`"),
        (r.expr(None).default(lambda message: [message]), [None]),
        (r.expr(None).default(r.error()), None),
        (r.expr([{"a": 1}, {}]).map(lambda row: row["a"].default(0)), [1, 0]),
    ],
)
def test_what_is_missing_is_made_up_for(query: Any, value: Any) -> None:
    assert evaluate(query) == value


def test_other_errors_pass_through_default() -> None:
    assert failure((r.expr(1) + "a").default(2)).message == "Expected type NUMBER but found STRING."
    assert failure(BOOM.default(2)).kind == ErrorKind.USER
    assert failure(MISSING.default(r.error())).kind == ErrorKind.NON_EXISTENCE
    assert failure(MISSING.default(BOOM)).message == "boom"
    assert failure(r.error()).kind == ErrorKind.LOGIC


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (r.do(1, 2, lambda a, b: a - b), -1),
        (r.expr(1).do(5), 5),
        (r.expr([1, 2]).do(lambda a: a.append(3)), [1, 2, 3]),
        (r.expr(2).do(lambda a: r.expr([1, 2, 3]).map(lambda b: a * b)), [2, 4, 6]),
        (r.expr({"a": {"b": 7}})["a"]["b"], 7),
        (r.expr([{"a": 1}, {"b": 2}, {"a": None}])["a"], [1, None]),
        (r.expr([5, 6])[1], 6),
        (r.expr([5, 6])[-1], 6),
        (r.expr([{"a": 1}])["a"].nth(0), 1),
    ],
)
def test_functions_are_called_and_fields_taken(query: Any, value: Any) -> None:
    assert evaluate(query) == value


@pytest.mark.parametrize(
    ("query", "kind", "message"),
    [
        (
            r.do(1, lambda a, b: a),
            ErrorKind.LOGIC,
            "Expected function with 1 argument but found function with 2 arguments.",
        ),
        (MISSING, ErrorKind.NON_EXISTENCE, 'No attribute `b` in object:\n{\n\t"a":\t1\n}'),
        (r.expr([1])[1], ErrorKind.NON_EXISTENCE, "Index out of bounds: 1"),
        (r.expr("a")["b"], ErrorKind.LOGIC, 'Cannot perform bracket on a non-object non-sequence `"a"`.'),
        (r.expr(None)["b"], ErrorKind.NON_EXISTENCE, "Cannot perform bracket on a non-object non-sequence `null`."),
        (r.now()["b"], ErrorKind.LOGIC, "Cannot call `bracket` on objects of type `PTYPE<TIME>`."),
        (
            r.expr({})[None],
            ErrorKind.NON_EXISTENCE,
            "Expected NUMBER or STRING as second argument to `bracket` but found NULL.",
        ),
        (r.expr([[1]])["b"], ErrorKind.LOGIC, "Cannot perform bracket on a sequence of sequences."),
    ],
)
def test_what_cannot_be_called_or_taken_is_refused(query: Any, kind: ErrorKind, message: str) -> None:
    error = failure(query)
    assert (error.kind, error.message) == (kind, message)
