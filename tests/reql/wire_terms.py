"""Random wire terms, for tests that ask what nobody would."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

import photondb.reql.terms  # noqa: F401  # registers the terms
from photondb.reql.registry import SPECIAL_FORMS, TERMS
from photondb.reql.wire import Term

Draw = Callable[[st.SearchStrategy[Any]], Any]

OUTSIDE = frozenset({Term.HTTP, Term.JAVASCRIPT})
"""Terms that reach out of the process; they have tests of their own."""

DESTRUCTIVE = frozenset({Term.DB_DROP, Term.TABLE_DROP, Term.GRANT, Term.SET_WRITE_HOOK, Term.RECONFIGURE})

NUMBERS = sorted({int(number) for number in (*TERMS, *SPECIAL_FORMS)} - OUTSIDE - DESTRUCTIVE)

FIELDS = ["id", "a", "b", "g", "missing"]
WORDS = [
    *FIELDS,
    *("", "t", "u", "test", "n", "multi", "where", "x y", "[", "%", "2020-01-02T03:04:05Z", "Z", "+01:00"),
    *("array", "object", "string", "number", "binary", "bool", "open", "closed", "hard", "soft", "error", "replace"),
    *("update", "always", "single", "{a}", "{", "\0", "é\u0301", "\ud7ff", "WGS84", "m", "uuid", "name", "1.5e3"),
]
TIME = {"$reql_type$": "TIME", "epoch_time": 1375147296.68, "timezone": "-07:00"}
BINARY = {"$reql_type$": "BINARY", "data": "aGVsbG8="}
POINT = {"$reql_type$": "GEOMETRY", "type": "Point", "coordinates": [2, [-122.4, 37.7]]}

numbers = st.one_of(
    st.integers(-3, 5),
    st.sampled_from([0.5, -0.0, 1e300, -1e300, 2**53, 2**53 + 1, -(2**60), 1e-300, 100_000, 1.5, 127, 1e18]),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, st.sampled_from(WORDS))
constants = st.recursive(
    scalars | st.sampled_from([TIME, BINARY, POINT]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: [int(Term.MAKE_ARRAY), items])
        | st.dictionaries(st.sampled_from([*FIELDS, *FIELDS, *FIELDS, "$reql_type$"]), inner, max_size=3)
    ),
    max_leaves=6,
)
junk = st.recursive(
    scalars | st.sampled_from(NUMBERS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*FIELDS, "index"]), inner, max_size=3),
    max_leaves=12,
)
"""JSON that mostly is no term at all."""

TABLE: list[Any] = [int(Term.TABLE), ["t"]]
SEQUENCES: list[Any] = [
    TABLE,
    [int(Term.RANGE), [5]],
    [int(Term.RANGE), []],
    [int(Term.MAKE_ARRAY), [1, 2, 3, "a", None]],
    [int(Term.MAKE_ARRAY), [{"a": 1, "g": 2}, {"a": 2}, {"g": [int(Term.MAKE_ARRAY), [1, 2]]}]],
    [int(Term.BETWEEN), [TABLE, 1, 4]],
    [int(Term.ORDER_BY), [TABLE], {"index": "n"}],
    [int(Term.GET_ALL), [TABLE, 1, 2], {"index": "n"}],
    [int(Term.GROUP), [TABLE, "g"]],
    [int(Term.ORDER_BY), [TABLE, "a"]],
    [int(Term.TABLE), [[int(Term.DB), ["rethinkdb"]], "jobs"]],
]


FORMS: dict[int, list[str]] = {
    Term.MAKE_ARRAY: ["datum", "datum", "datum"],
    Term.BRANCH: ["bool", "any", "any"],
    Term.AND: ["bool", "bool"],
    Term.OR: ["bool", "bool"],
    Term.DEFAULT: ["any", "datum"],
    Term.FUNCALL: ["function", "datum"],
    Term.BRACKET: ["object", "string"],
    Term.GET_FIELD: ["object", "string"],
    Term.WITH_FIELDS: ["sequence", "string"],
    Term.ORDER_BY: ["sequence", "function or field name"],
    Term.UNION: ["sequence", "sequence"],
    Term.CHANGES: ["selection"],
    Term.LITERAL: ["datum"],
}
"""What special forms mostly take."""

GIVING: dict[str, list[int]] = {
    "number": [
        *(Term.ADD, Term.SUB, Term.MUL, Term.DIV, Term.FLOOR, Term.ROUND, Term.COUNT, Term.SUM, Term.AVG, Term.YEAR),
        *(Term.TO_EPOCH_TIME, Term.REDUCE, Term.FOLD, Term.MIN, Term.BIT_AND, Term.DISTANCE, Term.NTH, Term.RANDOM),
    ],
    "string": [
        *(Term.UPCASE, Term.DOWNCASE, Term.TO_JSON_STRING, Term.TYPE_OF, Term.TO_ISO8601, Term.TIMEZONE, Term.ADD),
        *(Term.COERCE_TO, Term.UUID, Term.FORMAT, Term.SLICE),
    ],
    "bool": [
        *(Term.EQ, Term.NE, Term.LT, Term.GE, Term.NOT, Term.AND, Term.OR, Term.CONTAINS, Term.HAS_FIELDS),
        *(Term.IS_EMPTY, Term.DURING, Term.INTERSECTS, Term.INCLUDES),
    ],
    "object": [
        *(Term.MERGE, Term.PLUCK, Term.WITHOUT, Term.GET, Term.NTH, Term.OBJECT, Term.INFO, Term.MATCH, Term.INSERT),
        *(Term.UPDATE, Term.REPLACE, Term.DELETE, Term.STATUS, Term.CONFIG, Term.LITERAL, Term.MIN, Term.MAX),
    ],
    "array": [
        *(Term.APPEND, Term.PREPEND, Term.INSERT_AT, Term.SPLICE_AT, Term.SET_INSERT, Term.SET_UNION, Term.KEYS),
        *(Term.VALUES, Term.SPLIT, Term.DISTINCT, Term.UNGROUP, Term.MAKE_ARRAY, Term.SAMPLE, Term.DIFFERENCE),
        *(Term.INDEX_LIST, Term.INDEX_STATUS, Term.COERCE_TO, Term.CHANGE_AT, Term.DELETE_AT, Term.SET_DIFFERENCE),
    ],
    "sequence": [
        *(Term.MAP, Term.FILTER, Term.CONCAT_MAP, Term.LIMIT, Term.SKIP, Term.SLICE, Term.ORDER_BY, Term.UNION),
        *(Term.WITH_FIELDS, Term.PLUCK, Term.WITHOUT, Term.MERGE, Term.INNER_JOIN, Term.OUTER_JOIN, Term.EQ_JOIN),
        *(Term.ZIP, Term.GROUP, Term.OFFSETS_OF, Term.GET_ALL, Term.BETWEEN, Term.RANGE, Term.BRACKET, Term.DISTINCT),
        *(Term.GET_INTERSECTING, Term.GET_NEAREST, Term.HAS_FIELDS),
    ],
    "selection": [Term.TABLE, Term.BETWEEN, Term.GET_ALL, Term.FILTER, Term.LIMIT, Term.ORDER_BY, Term.SAMPLE],
    "time": [Term.NOW, Term.TIME, Term.EPOCH_TIME, Term.ISO8601, Term.IN_TIMEZONE, Term.DATE, Term.ADD],
    "geometry": [Term.POINT, Term.LINE, Term.POLYGON, Term.CIRCLE, Term.GEOJSON, Term.FILL, Term.POLYGON_SUB],
    "binary": [Term.BINARY, Term.COERCE_TO],
}
"""Terms that may give a value of a kind."""

_LIKE = {"table slice": "selection", "single selection": "object", "integer": "number", "32-bit integer": "number"}


class _Writer:
    """Writes one term. `draw` makes the choices; `scope` are the variables of the functions around."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.next_variable = 1

    def once_in(self, times: int) -> bool:
        return bool(self.draw(st.integers(1, times)) == times)

    def term(self, depth: int, scope: tuple[int, ...]) -> Any:
        """Any term."""
        if depth <= 0:
            return self.leaf(scope)
        return self.call(self.draw(st.sampled_from(NUMBERS)), depth, scope)

    def call(self, number: int, depth: int, scope: tuple[int, ...]) -> Any:
        """A call of a term, mostly with arguments of the right number and kinds."""
        definition = TERMS.get(number)
        if definition is None:
            kinds = FORMS.get(number, ["any", "any"])
            least = most = len(kinds)
        else:
            most = definition.minimum + 2 if definition.maximum is None else definition.maximum
            least = min(definition.minimum + definition.implied_database, most)
            kinds = [definition.parameter(position).kind.name for position in range(most)]
        count = self.draw(st.integers(0, 5)) if self.once_in(40) else self.draw(st.integers(least, most))
        args = [self.argument(kinds[i] if i < len(kinds) else "any", depth - 1, scope) for i in range(count)]
        if args and self.once_in(15):
            at = self.draw(st.integers(0, len(args) - 1))
            args[at:] = [[int(Term.ARGS), [[int(Term.MAKE_ARRAY), args[at:]]]]]
        optargs = {} if definition is None else self.optargs(definition.optargs, depth - 1, scope)
        if number == Term.ORDER_BY and self.once_in(4):
            optargs["index"] = self.draw(st.sampled_from(["id", "n", "multi", "where", [int(Term.DESC), ["n"]]]))
        return [int(number), args, optargs] if optargs else [int(number), args]

    def optargs(self, known: dict[str, Any], depth: int, scope: tuple[int, ...]) -> dict[str, Any]:
        given = {}
        for name, parameter in known.items():
            if self.once_in(6):
                given[name] = self.optarg(name, parameter.kind.name, depth, scope)
        return given

    def optarg(self, name: str, kind: str, depth: int, scope: tuple[int, ...]) -> Any:
        if name == "index":
            return self.draw(st.sampled_from(["id", "n", "multi", "where", "missing"]))
        if name.endswith("_bound"):
            return self.draw(st.sampled_from(["open", "closed"]))
        return self.argument(kind, depth, scope)

    def argument(self, kind: str, depth: int, scope: tuple[int, ...]) -> Any:
        """An argument that mostly is of a kind."""
        if self.once_in(25):
            return self.term(depth - 1, scope)
        if "function" in kind:
            return self.function(depth, scope)
        if kind == "table":
            return TABLE
        if kind == "database":
            return [int(Term.DB), ["test"]]
        if kind == "table name":
            return "t"
        if kind in ("datum", "any", "function or datum"):
            kind = self.draw(st.sampled_from(["number", "string", "object", "array", "sequence", "bool", "time"]))
        kind = _LIKE.get(kind, kind)
        if depth > 0 and kind in GIVING and not self.once_in(3):
            return self.call(self.draw(st.sampled_from(GIVING[kind])), depth - 1, scope)
        return self.simple(kind, scope)

    def simple(self, kind: str, scope: tuple[int, ...]) -> Any:
        """Something short of a kind."""
        if scope and self.once_in(3):
            return self.leaf(scope)
        if "sequence" in kind or kind == "selection":
            return self.draw(st.sampled_from(SEQUENCES if "sequence" in kind else SEQUENCES[:1] + SEQUENCES[5:8]))
        if "name" in kind or kind == "string":
            return self.draw(st.sampled_from(WORDS))
        if "integer" in kind or kind == "number":
            return self.draw(numbers)
        if kind == "bool":
            return self.draw(st.booleans())
        if kind == "object":
            return self.draw(st.sampled_from([{"a": 1, "b": None}, {"id": 3, "a": {"b": 2}}, {}]))
        if kind == "array":
            return self.draw(st.sampled_from([[2, []], [2, [1, 2, "a"]], [2, [{"a": 1}, {"a": 2}]]]))
        if kind in ("time", "geometry", "binary"):
            return {"time": TIME, "geometry": POINT, "binary": BINARY}[kind]
        return self.leaf(scope)

    def function(self, depth: int, scope: tuple[int, ...]) -> Any:
        count = self.draw(st.integers(0, 3)) if self.once_in(5) else self.draw(st.sampled_from([1, 1, 1, 2]))
        mine = tuple(range(self.next_variable, self.next_variable + count))
        self.next_variable += count
        body = self.argument("any", depth - 1, scope + mine)
        return [int(Term.FUNC), [[int(Term.MAKE_ARRAY), list(mine)], body]]

    def leaf(self, scope: tuple[int, ...]) -> Any:
        choice = self.draw(st.integers(0, 9))
        if choice < 6 and scope:
            variable = [int(Term.VAR), [self.draw(st.sampled_from(scope))]]
            return [int(Term.BRACKET), [variable, self.draw(st.sampled_from(FIELDS))]] if choice < 3 else variable
        if choice == 9:
            return self.draw(st.sampled_from([[13, []], [10, [99]], [12, []], [103, []], [180, []], [181, []]]))
        return self.draw(constants)


@st.composite
def terms(draw: Draw, depth: int = 5) -> Any:
    """A term that is well-formed, and mostly has arguments of the right kinds."""
    return _Writer(draw).term(depth, ())


@st.composite
def broken_terms(draw: Draw) -> Any:
    """A term of which some part has been replaced by junk."""
    term = copy.deepcopy(draw(terms()))
    node, places = term, []
    while type(node) in (list, dict) and node:
        keys = list(range(len(node))) if type(node) is list else sorted(node)
        key = draw(st.sampled_from(keys))
        places.append((node, key))
        node = node[key]
    if not places:
        return draw(junk)
    container, key = draw(st.sampled_from(places))
    container[key] = draw(junk)
    return term


odd_options = st.dictionaries(
    st.sampled_from(
        [
            *("array_limit", "profile", "noreply", "durability", "read_mode", "db", "max_batch_rows", "min_batch_rows"),
            *("max_batch_bytes", "max_batch_seconds", "first_batch_scaledown_factor", "default", "index", "multi"),
            *("return_changes", "conflict", "interleave", "left_bound", "squash", "identifier_format", "nonsense"),
            *("atomic", "as_of", "transaction", "optimizations"),
        ]
    ),
    constants | st.just([int(Term.DB), ["test"]]),
    max_size=2,
)
options = st.one_of(st.just({}), st.just({}), st.just({"profile": True}), st.just({"array_limit": 5}), odd_options)
"""Run options."""
