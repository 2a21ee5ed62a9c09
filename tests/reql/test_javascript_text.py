"""Functions as JavaScript text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rethinkdb import r

from photondb.reql.javascript_text import SPACE, Nest, Parts, function_text, lay_out
from tests.storage.language import func


def text(function: Callable[..., Any]) -> str:
    """The text of a lambda, with its variables numbered from 1."""
    return function_text(func(function).to_wire()[:2])


@pytest.mark.parametrize(
    ("function", "body"),
    [
        (lambda x: x["a"]["b"], 'var1("a")("b")'),
        (lambda x: [x["a"], 1], 'r.expr([var1("a"), 1])'),
        (lambda x: {"a": x, "b": [1, None]}, 'r.object("a", var1, "b", [1, null])'),
        (lambda x: x["a"].upcase().default(True), 'var1("a").upcase().default(true)'),
        (lambda x: x["a"] + 1.5, 'r.add(var1("a"), 1.500000)'),
        (lambda x: r.branch(x["a"] > 3, x, r.monday), 'r.branch(r.gt(var1("a"), 3), var1, r.monday)'),
        (lambda x: r.expr([1, 2]).contains(x), "r.expr([1, 2]).contains(var1)"),
        (lambda x: r.table("t").get(x)["a"], 'r.table("t").get(var1)("a")'),
        (lambda x: r.db("d").table("t").count(), 'r.db("d").table("t").count()'),
        (lambda x: x.between(1, 2, left_bound="open"), 'var1.between(1, 2, {"leftBound": "open"})'),
        (lambda x: x.merge({"a": {"b": 1}}), 'var1.merge({"a": {"b": 1}})'),
        (lambda x: r.binary(b"\x00"), "r.expr(Buffer(\"AA==\", 'base64'))"),
        (lambda x: x.do(lambda y: y + 1), "var1.do(function (var2) {\nreturn r.add(var2, 1);\n})"),
        (lambda x: r.do(x, 2, lambda y, z: y), "r.do(var1, 2, function (var2, var3) {\nreturn var2;\n})"),
        (lambda x: 'say "hi"', 'r.expr("say \\"hi\\"")'),
    ],
)
def test_a_function_is_shown_as_javascript(function: Callable[..., Any], body: str) -> None:
    assert text(function) == f"function(var1) {{ return {body}; }}"


def test_functions_have_any_number_of_parameters() -> None:
    assert text(lambda: 1) == "function() { return r.expr(1); }"
    assert text(lambda a, b: a) == "function(var1, var2) { return var1; }"


def test_what_is_nested_too_deeply_is_left_out() -> None:
    nested: Any = 1
    for _ in range(30):
        nested = [2, [nested]]
    shown = function_text([69, [[2, []], nested]])
    assert shown == "function() { return r.expr(" + "[" * 15 + "..." + "]" * 15 + "); }"


def test_long_chains_are_broken_before_their_methods() -> None:
    lines = text(lambda x: x["a" * 30].upcase().downcase().split("b" * 30).count()).splitlines()
    assert len(lines) > 1
    assert all(line.startswith(".") for line in lines[1:])


def test_what_fits_stays_on_its_line() -> None:
    parts: Parts = ["f(", Nest("aaa,", SPACE, "bbb"), ")"]
    assert lay_out(parts, width=12) == "f(aaa, bbb)"
    assert lay_out(parts, width=6) == "f(aaa,\n  bbb)"
