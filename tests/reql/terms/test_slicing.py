"""Parts of sequences: `limit`, `skip`, `slice`, `nth`, `sample`, `is_empty`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rethinkdb import r

from photondb.reql.errors import ErrorKind, ReqlError
from tests.reql.database import RunningDatabase
from tests.reql.evaluate import evaluate, failure

LETTERS = "abcdef"


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (r.expr([1, 2, 3]).limit(2), [1, 2]),
        (r.expr([1, 2, 3]).limit(0), []),
        (r.expr([1, 2, 3]).limit(9), [1, 2, 3]),
        (r.range().limit(3), [0, 1, 2]),
        (r.range(9).filter(r.row > 4).limit(2), [5, 6]),
        (r.range(9).limit(4).filter(r.row > 1), [2, 3]),
        (r.range(9).limit(4).limit(2), [0, 1]),
        (r.range(9).skip(2).limit(3).skip(1), [3, 4]),
        (r.range(9).limit(3).count(), 3),
        (r.expr([1, 2, 3]).skip(1), [2, 3]),
        (r.expr([1, 2, 3]).skip(-1), [3]),
        (r.expr([1, 2, 3]).skip(7), []),
        (r.expr("abc").skip(1), "bc"),
        (r.range(4).skip(2), [2, 3]),
        (r.range().skip(5).limit(2), [5, 6]),
        (r.expr([1, 2, 3]).limit(1).type_of(), "ARRAY"),
        (r.range(3).limit(1).type_of(), "STREAM"),
    ],
)
def test_limit_and_skip(query: Any, value: Any) -> None:
    assert evaluate(query) == value


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (r.expr([1, 2, 3, 4])[1:3], [2, 3]),
        (r.expr([1, 2, 3, 4])[:2], [1, 2]),
        (r.expr([1, 2, 3, 4])[2:], [3, 4]),
        (r.expr([1, 2, 3, 4])[-3:-1], [2, 3]),
        (r.expr([1, 2, 3, 4]).slice(1, 2, right_bound="closed"), [2, 3]),
        (r.expr([1, 2, 3, 4]).slice(1, 3, left_bound="open"), [3]),
        (r.expr([1, 2, 3, 4]).slice(0, -1, right_bound="closed"), [1, 2, 3, 4]),
        (r.expr([1, 2, 3, 4]).slice(-9, 2), [1, 2]),
        (r.expr([1, 2, 3, 4]).slice(-9, 2, left_bound="open"), [1, 2]),
        (r.expr([1, 2, 3, 4]).slice(3, 1), []),
        (r.expr([1, 2, 3, 4]).slice(9), []),
        (r.expr("aéüz")[1:3], "éü"),
        (r.expr("abc")[-2:], "bc"),
        (r.expr("abc")[5:], ""),
        (r.binary(b"abcd")[1:3] == r.binary(b"bc"), True),
        (r.binary(b"abcd")[-1:] == r.binary(b"d"), True),
        (r.binary(b"abcd")[7:] == r.binary(b""), True),
        (r.range(9)[2:4], [2, 3]),
        (r.range(9).slice(2, 4, left_bound="open", right_bound="closed"), [3, 4]),
        (r.range(4).slice(2, -1, right_bound="closed"), [2, 3]),
        (r.range().slice(2, 4), [2, 3]),
    ],
)
def test_slice(query: Any, value: Any) -> None:
    assert evaluate(query) == value


@given(st.integers(-8, 8), st.integers(-8, 8), st.sampled_from(["open", "closed"]), st.sampled_from(["open", "closed"]))
def test_slices_of_arrays_strings_and_binaries_agree(left: int, right: int, left_bound: str, right_bound: str) -> None:
    def part(value: Any) -> Any:
        return evaluate(r.expr(value).slice(left, right, left_bound=left_bound, right_bound=right_bound))

    letters = part(LETTERS)
    assert "".join(part(list(LETTERS))) == letters
    assert part(r.binary(LETTERS.encode())) == evaluate(r.binary(letters.encode()))
    if left >= 0 and right >= 0:
        stream = r.expr(list(LETTERS)).union(r.range(0))
        assert "".join(part(stream)) == letters


@pytest.mark.parametrize(
    ("query", "message", "frames"),
    [
        (r.range(9).limit(-1), "LIMIT takes a non-negative argument (got -1)", ()),
        (r.range(9).limit("a"), "Expected type NUMBER but found STRING.", (1,)),
        (r.range(9).limit(2**40), "Integer too large: 1099511627776", (1,)),
        (r.expr("abc").limit(1), "Cannot convert STRING to SEQUENCE", (0,)),
        (r.range(9).skip(-1), "Cannot use a negative left index on a stream.", ()),
        (r.range(9)[-2:], "Cannot use a negative left index on a stream.", ()),
        (r.range(9)[1:-3], "Cannot use a right index < -1 on a stream.", ()),
        (r.range(9)[1:-1], "Cannot slice to an open right index of -1 on a stream.", ()),
        (r.expr(1)[1:], "Expected ARRAY, BINARY, or STRING, but found NUMBER.", (0,)),
        (r.expr({}).skip(1), "Expected ARRAY, BINARY, or STRING, but found OBJECT.", (0,)),
        ([30, [[69, [[2, []], 1]], 1]], "Cannot slice non-sequences.", (0,)),
        (
            r.expr([1]).slice(0, 1, left_bound="ajar"),
            'Expected `open` or `closed` for optarg `left_bound` (got `"ajar"`).',
            (),
        ),
    ],
)
def test_what_has_no_such_part_is_refused(query: Any, message: str, frames: tuple[int, ...]) -> None:
    error = failure(query)
    assert (error.kind, error.message, error.frames) == (ErrorKind.LOGIC, message, frames)


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (r.expr([1, 2, 3]).nth(0), 1),
        (r.expr([1, 2, 3])[-1], 3),
        (r.expr([1, 2, 3])[-3], 1),
        (r.range(5).nth(3), 3),
        (r.range(1200).nth(-1), 1199),
        (r.range().nth(7), 7),
        (r.range(4).group(r.row % 2)[1], [[0, 2], [1, 3]]),
        (r.range(4).group(r.row % 2).nth(0), [[0, 0], [1, 1]]),
    ],
)
def test_nth(query: Any, value: Any) -> None:
    assert evaluate(query) == value


@pytest.mark.parametrize(
    ("query", "kind", "message"),
    [
        (r.expr([1]).nth(1), ErrorKind.NON_EXISTENCE, "Index out of bounds: 1"),
        (r.expr([1]).nth(-2), ErrorKind.NON_EXISTENCE, "Index out of bounds: -2"),
        (r.expr([])[0], ErrorKind.NON_EXISTENCE, "Index out of bounds: 0"),
        (r.range(3).nth(3), ErrorKind.NON_EXISTENCE, "Index out of bounds: 3"),
        (r.range(0).nth(-1), ErrorKind.NON_EXISTENCE, "Index out of bounds: -1"),
        (r.range(3).nth(-2), ErrorKind.LOGIC, "Cannot use an index < -1 (-2) on a stream."),
        (r.expr(1).nth(0), ErrorKind.LOGIC, "Cannot convert NUMBER to SEQUENCE"),
        (r.expr([1]).nth(0.5), ErrorKind.LOGIC, "Number not an integer: 0.5"),
    ],
)
def test_there_is_not_always_an_nth_element(query: Any, kind: ErrorKind, message: str) -> None:
    error = failure(query)
    assert (error.kind, error.message) == (kind, message)


@given(st.lists(st.integers(), max_size=30), st.integers(0, 40))
def test_a_sample_holds_different_elements_of_the_sequence(numbers: list[int], count: int) -> None:
    positions = list(range(len(numbers)))
    chosen = evaluate(r.expr(positions).sample(count))
    assert len(chosen) == min(count, len(numbers))
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= set(positions)


def test_samples_differ() -> None:
    assert len({tuple(evaluate(r.range(1000).sample(3))) for _ in range(5)}) > 1


def test_what_cannot_be_sampled() -> None:
    message = "Number of items to sample must be non-negative, got `-1`."
    assert failure(r.range(3).sample(-1)).message == message
    assert failure(r.range(3).sample(5), array_limit=4).kind == ErrorKind.RESOURCE_LIMIT
    assert "infinite stream" in failure(r.range().sample(1)).message


def test_is_empty() -> None:
    assert evaluate(r.expr([]).is_empty()) is True
    assert evaluate(r.expr([None]).is_empty()) is False
    assert evaluate(r.range(0).is_empty()) is True
    assert evaluate(r.range().is_empty()) is False
    assert evaluate(r.range(10).filter(r.row > 20).is_empty()) is True
    assert failure(r.expr("").is_empty()).message == "Cannot convert STRING to SEQUENCE"


def test_parts_of_tables_are_selections(database: RunningDatabase) -> None:
    database.run(r.table_create("shelf"))
    shelf = r.table("shelf")
    database.run(shelf.insert([{"id": i, "n": i % 7} for i in range(1500)]))
    assert database.run(shelf.limit(3).type_of()) == "SELECTION<STREAM>"
    assert database.run(shelf.limit(3).update({"old": True}))["replaced"] == 3
    assert database.run(shelf[1:3].count()) == 2
    assert database.run(shelf.skip(1490).count()) == 10
    assert database.run(shelf.nth(4).type_of()) == "SELECTION<OBJECT>"
    assert database.run(shelf.order_by(index="id")[7].update({"old": True}))["replaced"] == 1
    assert database.run(shelf.filter(r.row["old"])["id"]) == [0, 1, 2, 7]
    assert database.run(shelf.nth(-1)) == {"id": 1499, "n": 1499 % 7}
    assert database.run(shelf.sample(5).type_of()) == "SELECTION<ARRAY>"
    assert database.run(shelf.sample(5).update({"lucky": True}))["replaced"] == 5
    assert database.run(shelf.filter(r.row["n"] == 5).skip(3).limit(2)["id"]) == [26, 33]
    assert database.run(shelf.is_empty()) is False
    with pytest.raises(ReqlError, match="Cannot use a negative left index on a stream"):
        database.run(shelf.skip(-1))
