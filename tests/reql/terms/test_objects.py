from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rethinkdb import r

from photondb.datum.merge import merge
from photondb.reql.compiler import compile_function
from photondb.reql.errors import ErrorKind
from photondb.reql.function import Func
from tests.reql.evaluate import evaluate, failure, wire_term

STRAY = (
    "Stray literal keyword found: literal is only legal inside of the object passed to merge or update and "
    "cannot nest inside other literals."
)
table = r.db("test").table("table")
person = r.expr({"name": "ann", "age": 30, "home": {"city": "ulm", "zip": "89073"}, "phone": None})
people = r.expr([{"name": "ann", "age": 30}, {"name": "bob"}, {"age": 5, "name": None}])


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (r.object(), {}),
        (r.object("a", 1, r.expr("b") + "c", [2]), {"a": 1, "bc": [2]}),
        (r.expr({"b": 1, "a": 2}).keys(), ["a", "b"]),
        (r.expr({"b": 1, "a": 2}).values(), [2, 1]),
        (person.pluck("name", "x"), {"name": "ann"}),
        (person.pluck(r.expr("na") + "me"), {"name": "ann"}),
        (person.pluck(["name", {"home": "city"}]), {"name": "ann", "home": {"city": "ulm"}}),
        (person.pluck(r.args(["name", "age"])), {"name": "ann", "age": 30}),
        (person.without("home", "phone", "x"), {"name": "ann", "age": 30}),
        (person.without("age", "phone", {"home": "zip"}), {"name": "ann", "home": {"city": "ulm"}}),
        (person.has_fields("name", "home"), True),
        (person.has_fields("phone"), False),
        (person.has_fields({"home": "city"}), True),
        (people.pluck("age"), [{"age": 30}, {}, {"age": 5}]),
        (people.without("name"), [{"age": 30}, {}, {"age": 5}]),
        (people.has_fields("name"), [{"name": "ann", "age": 30}, {"name": "bob"}]),
        (people.with_fields("name", "age"), [{"name": "ann", "age": 30}]),
        (people.with_fields(r.args(["age"])), [{"age": 30}, {"age": 5}]),
        (r.range(2).map(lambda n: {"n": n, "m": 1}).pluck("n"), [{"n": 0}, {"n": 1}]),
    ],
)
def test_fields_are_chosen(query: Any, value: Any) -> None:
    assert evaluate(query) == value


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (r.expr({"a": 1}).merge({"b": 2}, {"b": 3, "c": 4}), {"a": 1, "b": 3, "c": 4}),
        (r.expr({"a": {"x": 1}}).merge({"a": {"y": 2}}), {"a": {"x": 1, "y": 2}}),
        (r.expr({"a": {"x": 1}}).merge({"a": r.literal({"y": 2})}), {"a": {"y": 2}}),
        (r.expr({"a": 1, "b": 2}).merge({"a": r.literal()}), {"b": 2}),
        (r.expr({"a": 1}).merge({"b": {"c": r.literal(r.expr(1) + 1)}}), {"a": 1, "b": {"c": 2}}),
        (r.expr({"a": 1}).merge(lambda row: {"b": row["a"] + 1}), {"a": 1, "b": 2}),
        (r.expr({"a": {"x": 1}}).merge(lambda row: {"a": r.literal(row["a"]["x"])}), {"a": 1}),
        (r.expr({"a": 1}).merge({"b": 1}, lambda row: {"c": row["b"]}), {"a": 1, "b": 1, "c": 1}),
        (r.expr({"a": {"b": 1}}).merge(r.args([{"a": r.literal({"c": 1})}])), {"a": {"c": 1}}),
        (r.expr([{"a": {"b": 1}}]).merge(r.args([{"a": r.literal({"c": 1})}])), [{"a": {"c": 1}}]),
        (r.expr([{"a": 1}, {"a": 2}]).merge({"b": r.row["a"] * 2}), [{"a": 1, "b": 2}, {"a": 2, "b": 4}]),
        (r.expr({"a": 1}).merge(5), 5),
    ],
)
def test_objects_are_merged(query: Any, value: Any) -> None:
    assert evaluate(query) == value


def test_what_is_merged_into_rows_is_evaluated_for_each_of_them() -> None:
    made = evaluate(r.expr([{}, {}]).merge({"id": r.uuid()}))
    assert made[0]["id"] != made[1]["id"]


@pytest.mark.parametrize(
    ("query", "kind", "message", "frames"),
    [
        (r.object("a"), ErrorKind.LOGIC, "OBJECT expects an even number of arguments (but found 1).", ()),
        (r.object(1, 2), ErrorKind.LOGIC, "Expected type STRING but found NUMBER.", ()),
        (
            r.object("a", 1, "a", 2),
            ErrorKind.LOGIC,
            'Duplicate key "a" in object.  (got 1 and 2 as values)',
            (),
        ),
        (r.expr([]).keys(), ErrorKind.LOGIC, "Cannot call `keys` on objects of type `ARRAY`.", (0,)),
        (r.now().values(), ErrorKind.LOGIC, "Cannot call `values` on objects of type `PTYPE<TIME>`.", (0,)),
        (person.pluck(1), ErrorKind.LOGIC, "Invalid path argument `1`.", ()),
        (r.expr("a").pluck("b"), ErrorKind.LOGIC, 'Cannot perform pluck on a non-object non-sequence `"a"`.', ()),
        (
            r.expr(None).without("b"),
            ErrorKind.NON_EXISTENCE,
            "Cannot perform without on a non-object non-sequence `null`.",
            (),
        ),
        (
            r.expr([[{"a": 1}]]).has_fields("a"),
            ErrorKind.LOGIC,
            "Cannot perform has_fields on a sequence of sequences.",
            (),
        ),
        (r.now().pluck("x"), ErrorKind.LOGIC, "Cannot call `pluck` on objects of type `PTYPE<TIME>`.", ()),
        (
            r.expr([r.expr(1).with_fields("a")]),
            ErrorKind.LOGIC,
            "Cannot perform has_fields on a non-object non-sequence `1`.",
            (0,),
        ),
        (
            person.with_fields("name"),
            ErrorKind.LOGIC,
            "Cannot perform pluck on a non-object non-sequence `true`.",
            (),
        ),
        (r.expr({}).merge(r.now()), ErrorKind.LOGIC, "Cannot merge objects of type `PTYPE<TIME>`.", (1,)),
        (r.expr({}).merge({}, table), ErrorKind.LOGIC, 'Expected type FUNCTION but found TABLE:\ntable("table")', (2,)),
        (r.literal(1), ErrorKind.LOGIC, STRAY, ()),
        (r.expr({"a": r.literal(1)}), ErrorKind.LOGIC, STRAY, ("a",)),
        (r.expr({}).merge(r.literal(1)), ErrorKind.LOGIC, STRAY, ()),
        (r.expr({}).merge({"a": r.literal({"b": r.literal()})}), ErrorKind.LOGIC, STRAY, (1, "a", 0, "b")),
        (r.expr({}).merge({"a": [r.literal(1)]}), ErrorKind.LOGIC, STRAY, (1, "a", 0)),
        (r.expr({}).merge(r.expr({"a": r.literal(1)}).pluck("a")), ErrorKind.LOGIC, STRAY, (1, 0, "a")),
        (r.expr([1]).map(lambda x: {"a": r.literal(x)}), ErrorKind.LOGIC, STRAY, (1, 1, "a")),
    ],
)
def test_what_makes_no_sense_is_refused(
    query: Any, kind: ErrorKind, message: str, frames: tuple[int | str, ...]
) -> None:
    error = failure(query)
    assert (error.kind, error.message, error.frames) == (kind, message, frames)


def test_literals_cannot_be_sent_as_raw_objects() -> None:
    assert failure({"$reql_type$": "LITERAL", "value": 1}).message == STRAY
    assert failure([35, [{"a": 1}, {"a": {"$reql_type$": "LITERAL"}}]]).message == STRAY


def test_each_group_is_worked_on() -> None:
    grouped = people.group(lambda row: row.has_fields("age"))
    assert evaluate(grouped.pluck("name")) == [[False, [{"name": "bob"}]], [True, [{"name": "ann"}, {"name": None}]]]
    assert evaluate(grouped.with_fields("name")) == [[False, [{"name": "bob"}]], [True, [{"name": "ann"}]]]
    assert evaluate(grouped.nth(0).merge({"x": 1})) == [
        [False, {"name": "bob", "x": 1}],
        [True, {"name": "ann", "age": 30, "x": 1}],
    ]
    assert evaluate(grouped.nth(0).keys()) == [[False, ["name"]], [True, ["age", "name"]]]


def test_functions_say_which_fields_they_look_at() -> None:
    def fields(function: Any) -> Any:
        return compile_function(wire_term(r.expr([1]).map(function))[1][1]).fields

    assert fields(lambda row: row.pluck("a", "b")) == {"a", "b"}
    assert fields(lambda row: row.has_fields("a") & row["b"]) == {"a", "b"}
    assert fields(lambda row: row.without("a")) is None
    assert fields(lambda row: row.pluck({"a": "b"})) is None


def test_functions_with_literals_travel() -> None:
    function = compile_function(
        [*wire_term(r.expr([1]).map(lambda row: {"a": r.literal(row["b"])}))[1][1], {"literals": True}]
    )
    patch = Func.from_wire(function.to_wire()).call({"b": 5})
    assert merge({"a": {"c": 1}}, patch) == {"a": 5}


@given(st.dictionaries(st.text(), st.integers(-(2**53), 2**53)), st.lists(st.text(), max_size=3))
def test_pluck_and_without_share_an_object_between_them(document: dict[str, int], names: list[str]) -> None:
    names += list(document)[:1]
    picked = evaluate(r.expr(document).pluck(*names))
    assert picked == {name: document[name] for name in names if name in document}
    assert evaluate(r.expr(document).without(*names).merge(picked)) == document
