from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rethinkdb import r

from photondb.reql.errors import ErrorKind
from tests.reql.evaluate import evaluate, failure

FORMAT = 197
"""The driver has no method for this term."""

texts = st.text(st.characters(exclude_categories=["Cs"]))


def group(text: str, start: int, end: int) -> dict[str, Any]:
    return {"str": text, "start": start, "end": end}


@pytest.mark.parametrize(
    ("text", "pattern", "found"),
    [
        ("hello", "l+", {**group("ll", 2, 4), "groups": []}),
        (
            "name: ann",
            r"(\w+): (\w+)",
            {**group("name: ann", 0, 9), "groups": [group("name", 0, 4), group("ann", 6, 9)]},
        ),
        ("b", "(a)|(b)", {**group("b", 0, 1), "groups": [None, group("b", 0, 1)]}),
        ("ab", "(x*)a", {**group("a", 0, 1), "groups": [group("", 0, 0)]}),
        ("HELLO", "(?i)hello", {**group("HELLO", 0, 5), "groups": []}),
        ("añb", "b", {**group("b", 3, 4), "groups": []}),
        ("abc", "^c", None),
    ],
)
def test_patterns_are_found(text: str, pattern: str, found: Any) -> None:
    assert evaluate(r.expr(text).match(pattern)) == found


def test_a_wrong_pattern_is_quoted() -> None:
    error = failure(r.expr("x").match("a(b"))
    assert error.kind == ErrorKind.LOGIC
    assert error.message == "Error in regexp `a(b` (portion `a(b`): missing ): a(b"


def test_no_pattern_takes_long() -> None:
    assert evaluate(r.expr("a" * 5000 + "b").match("(a+)+$")) is None
    assert failure(r.expr("x").match("((a{1000}){1000}){1000}")).kind == ErrorKind.LOGIC


@pytest.mark.parametrize(
    ("query", "parts"),
    [
        (r.expr(" to  be\tor ").split(), ["to", "be", "or"]),
        (r.expr("").split(), []),
        (r.expr("a\u2003b\x1cc").split(), ["a", "b\x1cc"]),
        (r.expr("to  be or not").split(None, 1), ["to", "be or not"]),
        (r.expr(" to be ").split(None, 0), ["to be "]),
        (r.expr("a,,b").split(","), ["a", "", "b"]),
        (r.expr("").split(","), [""]),
        (r.expr("a,b,c").split(",", 1), ["a", "b,c"]),
        (r.expr("a,b").split(",", 0), ["a,b"]),
        (r.expr("abc").split(""), ["a", "b", "c"]),
        (r.expr("abc").split("", 1), ["a", "bc"]),
        (r.expr("e\u0301a\u0308").split(""), ["e\u0301", "a\u0308"]),
        (r.expr("ab").split("", 2), ["a", "b"]),
        (r.expr("a b").split(None, -1), ["a", "b"]),
    ],
)
def test_strings_are_split(query: Any, parts: list[str]) -> None:
    assert evaluate(query) == parts


def test_split_refuses_limits_out_of_range_and_separators_that_are_no_strings() -> None:
    for limit in (-2, 100_000):
        assert failure(r.expr("a").split(",", limit)).message == (
            "Error: `split` size argument must be in range [-1, 99999]."
        )
    error = failure(r.expr("a").split(1))
    assert (error.message, error.frames) == ("Expected type STRING but found NUMBER.", (1,))


def test_parts_are_limited() -> None:
    for query in (
        r.expr("a b c ").split(),
        r.expr("a,b,c").split(","),
        r.expr("abc").split(""),
        r.expr("éèà").split(""),
    ):
        assert len(evaluate(query, array_limit=3)) == 3
        assert failure(query, array_limit=2).kind == ErrorKind.RESOURCE_LIMIT


def test_case_changes_for_ascii_only() -> None:
    assert evaluate(r.expr("Grün-Äpfel").upcase()) == "GRüN-ÄPFEL"
    assert evaluate(r.expr("ÉCOLE Ab").downcase()) == "École ab"


@pytest.mark.parametrize(
    ("template", "values", "text"),
    [
        ("{a} and {b}", {"a": "x", "b": 2.5}, "x and 2.5"),
        ("{a}", {"a": None}, "null"),
        ("{a}", {"a": {"z": 1, "y": [True]}}, '{"y":[true],"z":1}'),
        ("{}", {"": "nameless"}, "nameless"),
        ("plain", 5, "plain"),
        ("{a}", r.expr({"a": r.binary(b"raw")}), "raw"),
    ],
)
def test_templates_are_filled_in(template: str, values: Any, text: str) -> None:
    assert evaluate([FORMAT, [template, r.expr(values)]]) == text


def test_no_template_grows_without_end() -> None:
    error = failure([FORMAT, ["{a}" * 1000, r.expr({"a": "x" * 100_000})]])
    assert error.kind == ErrorKind.RESOURCE_LIMIT


@pytest.mark.parametrize(
    ("template", "values", "kind", "message"),
    [
        ("{a}", {"b": 1}, ErrorKind.NON_EXISTENCE, 'No attribute `a` in object:\n{\n\t"b":\t1\n}'),
        ("{a}", [1], ErrorKind.LOGIC, "Expected type OBJECT but found ARRAY."),
        ("{a", {"a": 1}, ErrorKind.LOGIC, "Parameter tag must be closed"),
        ("a}", {"a": 1}, ErrorKind.LOGIC, "No parameter tags to close"),
        ("{a{", {"a": 1}, ErrorKind.LOGIC, "Nested template parameters are not allowed"),
        ("{a,}", {"a": 1}, ErrorKind.LOGIC, "Formatting separator `,` is not allowed in parameter name"),
        ("{\\}", {"a": 1}, ErrorKind.LOGIC, "Reserved escape character `\\` is not allowed in parameter name"),
        ("{b} }", {"a": 1}, ErrorKind.NON_EXISTENCE, 'No attribute `b` in object:\n{\n\t"a":\t1\n}'),
    ],
)
def test_what_is_wrong_with_a_template_is_said(template: str, values: Any, kind: ErrorKind, message: str) -> None:
    error = failure([FORMAT, [template, r.expr(values)]])
    assert (error.kind, error.message) == (kind, message)


def test_each_group_is_split() -> None:
    grouped = r.expr(["a b", "c d"]).group(lambda text: text.slice(0, 1)).nth(0)
    assert evaluate(grouped.split()) == [["a", ["a", "b"]], ["c", ["c", "d"]]]


@given(texts, st.text(min_size=1, max_size=2))
def test_the_parts_of_a_split_make_the_string_again(text: str, separator: str) -> None:
    assert separator.join(evaluate(r.expr(text).split(separator))) == text
    assert "".join(evaluate(r.expr(text).split(""))) == text
