"""Calls of terms with few and with many arguments."""

from __future__ import annotations

import pytest
from rethinkdb import r

from photondb.reql.callsite import MAX_WRITTEN_OUT
from photondb.reql.errors import ErrorKind
from tests.reql.evaluate import evaluate, failure


@pytest.mark.parametrize("count", [1, 2, MAX_WRITTEN_OUT, MAX_WRITTEN_OUT + 1, 20_000])
def test_as_many_arguments_as_one_likes(count: int) -> None:
    numbers = list(range(count))
    assert evaluate(r.add(*numbers)) == sum(numbers)
    assert evaluate(r.expr([]).add(*[[number] for number in numbers])) == numbers
    assert evaluate(r.add(r.args(numbers))) == sum(numbers)


@pytest.mark.parametrize("count", [3, 1000])
def test_errors_of_many_arguments_say_which_one(count: int) -> None:
    error = failure(r.add(*[1] * count, r.expr(1).upcase(), 1))
    assert (error.kind, error.message) == (ErrorKind.LOGIC, "Expected type STRING but found NUMBER.")
    assert error.frames == (count, 0)
    assert failure(r.add(*[1] * count, "a")).frames == ()
    assert failure(r.time(*[1] * count, "Z"), array_limit=count).message


def test_optional_arguments_of_a_call_with_many() -> None:
    names = [str(number) for number in range(50)]
    row = {name: [name] for name in names}
    assert evaluate(r.expr([row]).group(*names).count()) == [[[[name] for name in names], 1]]
    assert evaluate(r.expr([row]).group(*names, multi=True).count()) == [[names, 1]]
