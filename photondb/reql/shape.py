"""The shape of a query: its wire term with the constants lifted out.

Two queries that differ only in constants have the same shape, so that a compiled plan is found by one dictionary
look-up. A shape is a nested tuple (hashable); the constants stand beside it, in the order in which they were met.

    [17, [[170, [[10, [5]], "age"]], 30]]    r.row["age"] == 30, in a function of variable 5
    (17, ((170, ((VAR, 0), (LITERAL, "age")), ()), (CONSTANT, 0)), ())    and the constants [30]

Names of fields, tables and databases and all optional arguments stay in the shape: what a plan reads is decided by
them. Variables are numbered by their order of appearance, because drivers number them without end.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

from photondb.datum.errors import DatumError
from photondb.datum.validation import validate
from photondb.reql.errors import CompileError, ErrorKind, ReqlError
from photondb.reql.wire import Term

Shape = tuple[Any, ...]

# The first element of a shape that is not a term. Terms have positive numbers.
CONSTANT = -1  # (CONSTANT, n): the n-th lifted constant
LITERAL = -2  # (LITERAL, value): a string that is part of the shape
LITERAL_SCALAR = -3  # (LITERAL_SCALAR, type name, value): True and 1 must not be the same shape
OBJECT = -4  # (OBJECT, ((key, shape), ...))
VAR = -5  # (VAR, n): the n-th variable
NOW = -6  # (NOW, n): the n-th constant, which is the time at which the query began

NO_RECURSE = "_NO_RECURSE_"
"""The optional argument that marks a term which is already mapped over a sequence; drivers never send it."""

MAX_DEPTH = 400
"""How deeply terms may nest."""

_CALLS_PER_LEVEL = 25
sys.setrecursionlimit(max(sys.getrecursionlimit(), MAX_DEPTH * _CALLS_PER_LEVEL))
# So that Python can compile and evaluate what nests as deeply as that; its calls take no stack of the machine's.

MAX_TERMS = 250_000
"""How many terms a query may have. To compile so many takes some seconds, in which others get their turns."""

TERMS_AT_A_TIME = 256
CONTAINERS_AT_A_TIME = 2048
"""After so many terms, or objects and arrays of constants, of a long query others get their turn."""

MAX_EXACT_INTEGER = 2**53

_TERMS = frozenset(int(number) for number in Term)

# As plain numbers: to look a member of an enumeration up takes longer than most of what is done with it here.
_VAR, _FUNC, _IMPLICIT_VAR, _NOW = int(Term.VAR), int(Term.FUNC), int(Term.IMPLICIT_VAR), int(Term.NOW)
_MAKE_ARRAY, _MAKE_OBJ, _DATUM = int(Term.MAKE_ARRAY), int(Term.MAKE_OBJ), int(Term.DATUM)

_SYNTAX = frozenset({_VAR, _MAKE_ARRAY, _FUNC, _IMPLICIT_VAR, _MAKE_OBJ, _DATUM, _NOW})
"""Terms that are no calls: variables, functions, values."""

_CALLS = _TERMS - _SYNTAX

_KEEPS_STRINGS = frozenset(
    int(term)
    for term in (
        Term.DB,
        Term.TABLE,
        Term.BRACKET,
        Term.GET_FIELD,
        Term.HAS_FIELDS,
        Term.PLUCK,
        Term.WITHOUT,
        Term.WITH_FIELDS,
        Term.ORDER_BY,
        Term.ASC,
        Term.DESC,
        Term.GROUP,
        Term.SUM,
        Term.AVG,
        Term.MIN,
        Term.MAX,
        Term.EQ_JOIN,
        Term.COERCE_TO,
    )
)


def keeps_strings(number: int) -> bool:
    """Whether strings among a term's arguments are names, which belong to the shape."""
    return number in _KEEPS_STRINGS


class Scope:
    """The variables that a term may use: wire id to number; `implicit` is what `r.row` means, `depth` how many
    functions with one argument enclose the term."""

    __slots__ = ("depth", "implicit", "numbers")

    def __init__(self, numbers: Mapping[int, int], implicit: int | None, depth: int) -> None:
        self.numbers = numbers
        self.implicit = implicit
        self.depth = depth


EMPTY_SCOPE = Scope({}, None, 0)


_NOT_CONSTANT: Any = object()
"""What stands for the value of a subtree that holds a term."""


class Shaper:
    """Takes one query apart. `constants` and `variables` (a count) grow as terms are taken in. `literals` allows
    constants that are what `r.literal` evaluates to, in functions that were written to the wire."""

    __slots__ = ("_composed", "constants", "lift_arrays", "literals", "now", "variables")

    def __init__(self, now: Mapping[str, Any] | None, lift_arrays: bool = True, literals: bool = False) -> None:
        self.constants: list[Any] = []
        self.variables = 0
        self.now = now
        self.lift_arrays = lift_arrays
        self.literals = literals
        self._composed: set[int] = set()
        """The objects and arrays (by identity) that are known to have terms in them."""

    def shape(self, node: Any, scope: Scope = EMPTY_SCOPE, keep_strings: bool = False, depth: int = 0) -> Shape:
        """The shape of a wire term. Raises CompileError with the frames that lead to what is wrong."""
        kind = type(node)
        if kind is list:
            return self._term(node, scope, depth)
        if kind is dict:
            return self._object(node, scope, depth)
        if kind is str and keep_strings:
            return (LITERAL, node)
        return self._constant(node)

    def _constant(self, value: Any) -> Shape:
        kind = type(value)
        if kind is float:
            value = _number(value)
        elif kind is int:
            if not -MAX_EXACT_INTEGER <= value <= MAX_EXACT_INTEGER:
                value = float(value)
        elif kind is dict or kind is list:
            try:
                value = self._validated(value)
            except DatumError as error:
                raise ReqlError(ErrorKind.LOGIC, error.message, ()) from None
        self.constants.append(value)
        return (CONSTANT, len(self.constants) - 1)

    def _validated(self, value: Any) -> Any:
        return validate(value, literals=self.literals)

    def _object(self, node: dict[str, Any], scope: Scope, depth: int) -> Shape:
        plain = self._plain(node)
        if plain is not _NOT_CONSTANT:
            return self._constant(plain)
        pairs = []
        for key, value in node.items():
            try:
                pairs.append((key, self.shape(value, scope, False, depth + 1)))
            except CompileError as error:
                raise _below(error, key) from None
        return (OBJECT, tuple(pairs))

    def _plain(self, node: Any) -> Any:
        """The constant that a subtree without terms stands for, or _NOT_CONSTANT."""
        if type(node) is list:
            return self._plain_array(node)
        if id(node) in self._composed:
            return _NOT_CONSTANT
        changed = None
        for key, value in node.items():
            if type(value) in _NESTED:
                plain = self._plain(value)
                if plain is not value:
                    if plain is _NOT_CONSTANT:
                        self._composed.add(id(node))  # what is around it is asked next, and then it again
                        return _NOT_CONSTANT
                    changed = changed or dict(node)
                    changed[key] = plain
        return node if changed is None else changed

    def _plain_array(self, node: list[Any]) -> Any:
        if not (len(node) == 2 and node[0] == _MAKE_ARRAY and type(node[1]) is list and self.lift_arrays):
            return _NOT_CONSTANT
        if id(node) in self._composed:
            return _NOT_CONSTANT
        elements = []
        for item in node[1]:
            if type(item) in _NESTED:
                item = self._plain(item)
                if item is _NOT_CONSTANT:
                    self._composed.add(id(node))
                    return _NOT_CONSTANT
            elements.append(item)
        return elements

    def _term(self, node: list[Any], scope: Scope, depth: int) -> Shape:
        if depth > MAX_DEPTH:
            raise CompileError(f"Terms may not nest deeper than {MAX_DEPTH} levels.")
        if len(node) == 2 and type(node[0]) is int and type(node[1]) is list and node[0] in _CALLS:  # most of them
            number, args = node
            optargs = None
        else:
            number, args, optargs = _take_apart(node)
            if number in _SYNTAX:
                found = self._syntax(node, number, args, optargs, scope, depth)
                if found is not None:
                    return found
        keep = number in _KEEPS_STRINGS
        constants = self.constants
        shapes: list[Shape] = []
        for arg in args:
            kind = type(arg)
            if kind is str:
                if keep:
                    shapes.append((LITERAL, arg))
                else:
                    shapes.append((CONSTANT, len(constants)))
                    constants.append(arg)
                continue
            if kind is int and -MAX_EXACT_INTEGER <= arg <= MAX_EXACT_INTEGER:
                shapes.append((CONSTANT, len(constants)))
                constants.append(arg)
                continue
            try:
                shapes.append(
                    self._term(arg, scope, depth + 1) if kind is list else self.shape(arg, scope, keep, depth + 1)
                )
            except CompileError as error:
                raise _below(error, len(shapes)) from None
        if not optargs:
            return (number, tuple(shapes), ())
        return (number, tuple(shapes), self._optargs(optargs, scope, depth))

    def _syntax(
        self, node: list[Any], number: int, args: Any, optargs: dict[str, Any], scope: Scope, depth: int
    ) -> Shape | None:
        """The shape of a term that is no call; None where it is one after all."""
        if number == _VAR:
            return self._variable(args, scope)
        if number == _MAKE_ARRAY:
            plain = self._plain(node)
            return None if plain is _NOT_CONSTANT else self._constant(plain)
        if number == _FUNC:
            return self._function(args, optargs, scope, depth)
        if number == _IMPLICIT_VAR:
            return _implicit(args, scope)
        if number == _MAKE_OBJ:
            if args:
                raise CompileError(f"Expected 0 arguments but found {len(args)}.")
            return self._object(optargs, scope, depth)
        if number == _DATUM:
            return self._constant(args)
        if self.now is None or args or optargs:
            return None
        self.constants.append(self.now)
        return (NOW, len(self.constants) - 1)

    def _optargs(self, optargs: dict[str, Any], scope: Scope, depth: int) -> tuple[tuple[str, Shape], ...]:
        pairs = []
        for name in sorted(optargs):
            value = optargs[name]
            try:
                kind = type(value)
                if kind is str:
                    shape: Shape = (LITERAL, value)
                elif kind in _SCALARS:
                    shape = (LITERAL_SCALAR, kind.__name__, value)
                else:
                    shape = self.shape(value, scope, name == "index", depth + 1)
                pairs.append((name, shape))
            except CompileError as error:
                raise _below(error, name) from None
        return tuple(pairs)

    def _function(self, args: list[Any], optargs: dict[str, Any], scope: Scope, depth: int) -> Shape:
        if optargs:
            raise CompileError("FUNC takes no optional arguments.")
        if len(args) != 2:
            raise CompileError(f"FUNC takes exactly two arguments (got {len(args)})")
        ids = _parameter_ids(args[0])
        numbers = dict(scope.numbers)
        mine = []
        for wire_id in ids:
            numbers[wire_id] = self.variables
            mine.append(self.variables)
            self.variables += 1
        if len(ids) == 1 and ids[0] >= 0:
            inner = Scope(numbers, mine[0], scope.depth + 1)
        else:
            inner = Scope(numbers, scope.implicit, scope.depth)
        try:
            body = self.shape(args[1], inner, False, depth + 1)
        except CompileError as error:
            raise _below(error, 1) from None
        return (_FUNC, tuple(mine), body)

    def _variable(self, args: list[Any], scope: Scope) -> Shape:
        if len(args) != 1:
            raise CompileError(f"Expected 1 argument but found {len(args)}.")
        number = scope.numbers.get(args[0]) if type(args[0]) is int else None
        if number is None:
            raise CompileError("Variable name not found.")
        return (VAR, number)


class LongQueryShaper(Shaper):
    """Takes a long query apart, and calls `pause` now and then. Raises CompileError for one that is too long."""

    __slots__ = ("_containers", "_pause", "_terms")

    def __init__(self, now: Mapping[str, Any] | None, lift_arrays: bool, pause: Callable[[], None]) -> None:
        super().__init__(now, lift_arrays)
        self._pause = pause
        self._terms = 0
        self._containers = 0

    def _term(self, node: list[Any], scope: Scope, depth: int) -> Shape:
        self._terms += 1
        if self._terms % TERMS_AT_A_TIME == 0:
            self._pause()
        if self._terms > MAX_TERMS:
            raise CompileError(f"A query may not have more than {MAX_TERMS:,} terms.")
        return super()._term(node, scope, depth)

    def _plain(self, node: Any) -> Any:
        self._containers += 1
        if self._containers % CONTAINERS_AT_A_TIME == 0:
            self._pause()
        return super()._plain(node)

    def _validated(self, value: Any) -> Any:
        return validate(value, literals=self.literals, pause=self._pause)


_NESTED = frozenset({dict, list})
_SCALARS = frozenset({bool, int, float, type(None)})


def _number(value: float) -> int | float:
    if value.is_integer() and -MAX_EXACT_INTEGER <= value <= MAX_EXACT_INTEGER:
        return int(value)
    if not math.isfinite(value):
        raise CompileError(f"Non-finite number: {value}")
    return value


def _below(error: CompileError, step: int | str) -> CompileError:
    error.frames = (step, *(error.frames or ()))
    return error


def _take_apart(node: list[Any]) -> tuple[int, Any, dict[str, Any]]:
    """(number, arguments, optional arguments) of a wire term, checked as RethinkDB's term walker does."""
    size = len(node)
    if not 1 <= size <= 3:
        raise CompileError(f"Expected between 1 and 3 elements in a raw term, but found {size}.")
    number = node[0]
    if type(number) is not int:
        raise CompileError(f"Expected a TermType as a NUMBER but found {_json_type(number)}.")
    if number not in _TERMS:
        raise CompileError(f"Unrecognized TermType: {number}.")
    if number == _DATUM:
        return number, node[1] if size > 1 else None, {}
    args: Any = ()
    optargs: dict[str, Any] = {}
    if size > 1:
        second = node[1]
        if type(second) is list:
            args = second
        elif type(second) is dict:
            optargs = second
        else:
            raise CompileError("Second element in a Term is neither arguments nor optional arguments.")
    if size > 2:
        if optargs:
            raise CompileError("Second and third element in a term are both optional arguments.")
        if type(node[2]) is not dict:
            raise CompileError("Third element in a Term is not optional arguments.")
        optargs = node[2]
    return number, args, optargs


def _json_type(value: Any) -> str:
    names = {bool: "BOOL", str: "STRING", list: "ARRAY", dict: "OBJECT", type(None): "NULL"}
    return names.get(type(value), "NUMBER")


def _parameter_ids(node: Any) -> list[int]:
    if type(node) is not list or len(node) != 2 or node[0] != _MAKE_ARRAY or type(node[1]) is not list:
        raise CompileError("CLIENT ERROR: FUNC variables must be a *literal array of numbers*.", (0,))
    for wire_id in node[1]:
        if type(wire_id) is not int:
            raise CompileError("CLIENT ERROR: FUNC variables must be a literal array of *numbers*.", (0,))
    ids: list[int] = node[1]
    return ids


def _implicit(args: list[Any], scope: Scope) -> Shape:
    if args:
        raise CompileError(f"Expected 0 arguments but found {len(args)}.")
    if scope.implicit is None:
        raise CompileError("r.row is not defined in this context.")
    if scope.depth > 1:
        raise CompileError("Cannot use r.row in nested queries.  Use functions instead.")
    return (VAR, scope.implicit)
