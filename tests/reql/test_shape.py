"""Queries that differ only in constants have one shape; what differs in meaning has another."""

from __future__ import annotations

import pytest

from photondb.reql import shape as shapes
from photondb.reql.errors import CompileError
from photondb.reql.shape import MAX_TERMS, LongQueryShaper, Shape, Shaper

NOW = {"$reql_type$": "TIME", "epoch_time": 5, "timezone": "+00:00"}
TABLE = [15, [[14, ["test"]], "users"]]


def shape_of(term: object, **options: bool) -> tuple[Shape, list[object]]:
    shaper = Shaper(NOW, **options)
    return shaper.shape(term), shaper.constants


def same_shape(first: object, second: object) -> bool:
    return shape_of(first)[0] == shape_of(second)[0]


def test_constants_are_lifted_in_order() -> None:
    shape, constants = shape_of([24, [1, [24, [2, "x"]]]])
    assert constants == [1, 2, "x"]
    assert same_shape([24, [1, [24, [2, "x"]]]], [24, [7, [24, [8, None]]]])
    assert hash(shape) == hash(shape_of([24, [1, [24, [2, "y"]]]])[0])


def test_a_document_is_one_constant() -> None:
    document = {"id": 1, "tags": [2, ["a", "b"]], "inner": {"deep": [2, []]}}
    shape, constants = shape_of([56, [TABLE, document]])
    assert constants == [{"id": 1, "tags": ["a", "b"], "inner": {"deep": []}}]
    assert shape[1][1] == (shapes.CONSTANT, 0)


def test_an_object_with_a_term_inside_is_taken_apart() -> None:
    shape, constants = shape_of({"a": 1, "b": [24, [1, 2]]})
    assert shape[0] == shapes.OBJECT
    assert constants == [1, 1, 2]


def test_numbers_are_normalised() -> None:
    assert shape_of([24, [1.0, 2.5, 2**60]])[1] == [1, 2.5, float(2**60)]
    assert type(shape_of(1.0)[1][0]) is int


def test_names_of_fields_and_tables_stay_in_the_shape() -> None:
    assert not same_shape([15, ["a"]], [15, ["b"]])
    assert not same_shape([170, [TABLE, "a"]], [170, [TABLE, "b"]])
    assert same_shape([16, [TABLE, "a"]], [16, [TABLE, "b"]])


def test_optional_arguments_stay_in_the_shape_with_their_types() -> None:
    assert not same_shape([43, [TABLE], {"x": True}], [43, [TABLE], {"x": 1}])
    assert not same_shape([43, [TABLE], {"x": True}], [43, [TABLE], {"x": False}])
    assert same_shape([43, [TABLE], {"a": 1, "b": 2}], [43, [TABLE], {"b": 2, "a": 1}])


def test_variables_are_numbered_by_their_order() -> None:
    first = [38, [TABLE, [69, [[2, [17]], [24, [[10, [17]], 1]]]]]]
    second = [38, [TABLE, [69, [[2, [902]], [24, [[10, [902]], 1]]]]]]
    assert same_shape(first, second)


def test_r_row_is_the_argument_of_the_innermost_function() -> None:
    with_row = [38, [TABLE, [69, [[2, [1]], [170, [[13], "a"]]]]]]
    with_variable = [38, [TABLE, [69, [[2, [1]], [170, [[10, [1]], "a"]]]]]]
    assert same_shape(with_row, with_variable)


def test_now_is_one_value_for_the_whole_query() -> None:
    shape, constants = shape_of([25, [[103, []], [103, []]]])
    assert constants == [NOW, NOW]
    assert shape[1][0][0] == shapes.NOW


def test_arrays_stay_terms_where_a_limit_must_see_them() -> None:
    assert shape_of([2, [1, 2]])[1] == [[1, 2]]
    assert shape_of([2, [1, 2]], lift_arrays=False)[1] == [1, 2]


@pytest.mark.parametrize(
    ("term", "message", "frames"),
    [
        ([], "Expected between 1 and 3 elements in a raw term, but found 0.", ()),
        ([24, [], {}, 1], "Expected between 1 and 3 elements in a raw term, but found 4.", ()),
        (["x", []], "Expected a TermType as a NUMBER but found STRING.", ()),
        ([24, [1, [99999, []]]], "Unrecognized TermType: 99999.", (1,)),
        ([24, 5], "Second element in a Term is neither arguments nor optional arguments.", ()),
        ([24, {}, {}], None, ()),
        ([24, [1], 5], "Third element in a Term is not optional arguments.", ()),
        ([43, [1], {"index": [10, [4]]}], "Variable name not found.", ("index",)),
        ([38, [1, [69, [[2, [1]], [10, [2]]]]]], "Variable name not found.", (1, 1)),
        ([13, []], "r.row is not defined in this context.", ()),
        (
            [38, [1, [69, [[2, [1]], [38, [1, [69, [[2, [2]], [13]]]]]]]]],
            "Cannot use r.row in nested queries.  Use functions instead.",
            (1, 1, 1, 1),
        ),
        ([69, [[2, ["x"]], 1]], "CLIENT ERROR: FUNC variables must be a literal array of *numbers*.", (0,)),
        ({"a": {"b": [24, [[99999]]]}}, "Unrecognized TermType: 99999.", ("a", "b", 0)),
    ],
)
def test_malformed_terms_are_refused_where_they_stand(
    term: object, message: str | None, frames: tuple[object, ...]
) -> None:
    if message is None:
        shape_of(term)
        return
    with pytest.raises(CompileError) as caught:
        shape_of(term)
    assert caught.value.message == message
    assert caught.value.frames == frames


def test_nesting_has_a_limit() -> None:
    term: object = 1
    for _ in range(shapes.MAX_DEPTH + 2):
        term = [24, [term, 1]]
    with pytest.raises(CompileError, match="may not nest deeper"):
        shape_of(term)


def test_long_queries_are_taken_apart_with_pauses() -> None:
    pauses = 0

    def pause() -> None:
        nonlocal pauses
        pauses += 1

    terms = [[24, [number, 1]] for number in range(10_000)]
    documents = [{"id": number, "tags": [2, ["a"]]} for number in range(10_000)]
    term = [64, [[69, [[2, [1]], [2, terms]]], [2, documents]]]
    shaper = LongQueryShaper(None, True, pause)
    assert shaper.shape(term) == Shaper(None).shape(term)
    assert shaper.constants[-1] == [{"id": number, "tags": ["a"]} for number in range(10_000)]
    assert pauses > 40


def test_a_query_has_so_many_terms_at_most() -> None:
    add = [24, [1, 1]]
    terms: list[object] = [2, [add] * MAX_TERMS]
    with pytest.raises(CompileError, match="may not have more than 250,000 terms"):
        LongQueryShaper(None, True, lambda: None).shape(terms)


def test_constants_around_a_term_are_looked_at_a_few_times_only() -> None:
    looked_at = 0

    class Counting(Shaper):
        def _plain(self, node: object) -> object:
            nonlocal looked_at
            looked_at += 1
            return super()._plain(node)

    node: object = [24, [1, 2]]
    for _ in range(200):
        node = {"a": [2, [1, 2, 3]], "b": node}
    Counting(None).shape(node)
    assert looked_at < 200 * 6


def test_an_object_may_be_a_term_too() -> None:
    assert shape_of([3, [], {"a": 1, "b": [24, [1, 2]]}]) == shape_of({"a": 1, "b": [24, [1, 2]]})
    assert shape_of([3, {"a": [2, [1]]}])[1] == [{"a": [1]}]
    assert shape_of([3])[1] == [{}]
    with pytest.raises(CompileError, match="Expected 0 arguments but found 1"):
        shape_of([3, [1], {"a": 1}])
