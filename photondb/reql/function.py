"""Compiled functions, and how they travel between processes.

A function is a compiled body with the frame that holds what it captured. Between processes and in the catalogue it is
its wire term, with constants and captured values written in, so that the other side needs nothing but ReQL.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from photondb.datum.extreme import MINVAL, Extreme
from photondb.datum.size import check_size
from photondb.reql import shape as shapes
from photondb.reql.errors import Frames, ReqlError, logic_error
from photondb.reql.function_runtime import DEFAULT_ARRAY_LIMIT
from photondb.reql.wire import Term

if TYPE_CHECKING:
    from photondb.reql.effects import Effects

Frame = list[Any]
"""What a compiled query runs in: the runtime at 0, then the constants, then the variables."""


class FunctionCode:
    """A function as the compiler leaves it: what all its instances share.

    `slots` are the frame positions of its parameters, `captures` those of outer variables that it uses, `fields` the
    top-level fields of its first argument that it looks at (None when it may look at all of them), `object_body` says
    that the body is an object literal, which `filter` treats as a pattern; `literals` that it may hold `r.literal`.
    A `variadic` function takes any number of arguments: its body gets a frame of the runtime and these. One that is
    `constant` gives the same for any arguments, without any evaluation.
    """

    __slots__ = (
        "body",
        "captures",
        "constant",
        "effects",
        "fields",
        "literals",
        "object_body",
        "parts",
        "path",
        "shape",
        "sides",
        "simple_field",
        "slots",
        "variable_base",
        "variadic",
    )

    def __init__(
        self,
        slots: tuple[int, ...],
        body: Callable[[Frame], Any],
        shape: shapes.Shape,
        variable_base: int,
        captures: frozenset[int],
        effects: Effects,
        fields: frozenset[str] | None,
        object_body: bool,
        path: Frames,
        literals: bool = False,
        variadic: bool = False,
    ) -> None:
        self.slots = slots
        self.body = body
        self.shape = shape
        self.variable_base = variable_base
        self.captures = captures
        self.effects = effects
        self.fields = fields
        self.object_body = object_body
        self.path = path
        self.literals = literals
        self.variadic = variadic
        self.simple_field = _simple_field(shape)
        self.constant = not slots and shape[2][0] == shapes.CONSTANT
        self.parts: Any = None
        """What the planner found out about it as a filter (`photondb.reql.planner.conditions`)."""
        self.sides: Any = None
        """The same as a filter behind a join (`photondb.reql.planner.join_filters`)."""


def _simple_field(shape: shapes.Shape) -> str | None:
    """The field's name where a function of one argument does nothing but take that field of it."""
    _, parameters, body = shape
    if len(parameters) != 1 or body[0] not in (Term.BRACKET, Term.GET_FIELD) or body[2]:
        return None
    subject, field = body[1]
    if subject == (shapes.VAR, parameters[0]) and field[0] == shapes.LITERAL:
        name: str = field[1]
        return name
    return None


class Func:
    """A function value: code and captured frame.

    A frame is copied only where the function captures variables: its own slots are written by nobody else, and ReQL
    has no recursion, so two calls of one function never overlap.
    """

    __slots__ = ("body", "code", "frame", "slots")

    def __init__(self, code: FunctionCode, frame: Frame) -> None:
        self.code = code
        self.body = code.body
        self.slots = code.slots
        self.frame = frame[:] if code.captures else frame

    @property
    def fields(self) -> frozenset[str] | None:
        """The top-level fields of the first argument that are used; None when any may be."""
        return self.code.fields

    @property
    def arity(self) -> int:
        return len(self.slots)

    @property
    def pushable(self) -> bool:
        """Whether it can run in storage: it is deterministic and touches no table."""
        return self.code.effects.pushable

    def evaluate(self, *args: Any) -> Any:
        """Call it; the result may be any value (a stream, a selection, ...)."""
        slots, frame = self.slots, self.frame
        if len(slots) != len(args):
            if slots:
                raise self._wrong_arity(len(args))
            if self.code.variadic:
                frame = [frame[0], *args]
        else:
            for slot, arg in zip(slots, args, strict=True):
                frame[slot] = arg
        return self.body(frame)

    def call(self, *args: Any) -> Any:
        """Call it; the result is a datum."""
        from photondb.reql.values import as_datum

        value = self.evaluate(*args)
        if type(value) in _PLAIN:
            return value
        try:
            return as_datum(value)
        except ReqlError as error:
            if error.frames is None:
                error.frames = self.code.path
            raise

    def check_arity(self, count: int) -> None:
        """Raise the error for a function that takes neither `count` nor no arguments."""
        if self.slots and len(self.slots) != count:
            raise self._wrong_arity(count)

    def _wrong_arity(self, count: int) -> ReqlError:
        found = len(self.slots)
        return logic_error(
            f"Expected function with {count} argument{'' if count == 1 else 's'} "
            f"but found function with {found} argument{'' if found == 1 else 's'}."
        )

    def to_wire(self) -> list[Any]:
        """The function as a FUNC term that stands for itself. A third element {"frames": [...], "literals": ...} says
        where the body stands in the query that it came from, for the backtraces of its errors, and whether `r.literal`
        may stand in it; and "array_limit" how long arrays may be, if that is not as usual."""
        code = self.code
        names = {slot - code.variable_base: number for number, slot in enumerate(code.slots, 1)}
        parameters = list(names.values())
        about: dict[str, Any] = {"frames": list(code.path), "literals": code.literals}
        limit = getattr(self.frame[0], "array_limit", DEFAULT_ARRAY_LIMIT)
        if limit != DEFAULT_ARRAY_LIMIT:
            about["array_limit"] = limit
        body = _Writer(self.frame, code.variable_base, names).term(code.shape[2])
        return [int(Term.FUNC), [[int(Term.MAKE_ARRAY), parameters], body], about]

    @staticmethod
    def from_wire(term: list[Any]) -> Func:
        """The function that a FUNC term describes. Raises CompileError where it is none."""
        from photondb.reql.compiler import compile_function

        return compile_function(term)


class _Writer:
    """Turns the shape of a function's body back into a wire term."""

    def __init__(self, frame: Frame, variable_base: int, names: dict[int, int]) -> None:
        self.frame = frame
        self.variable_base = variable_base
        self.names = names

    def term(self, shape: shapes.Shape) -> Any:
        tag = shape[0]
        if tag in (shapes.CONSTANT, shapes.NOW):
            return literal_term(self.frame[1 + shape[1]])
        if tag == shapes.VAR:
            number = self.names.get(shape[1])
            if number is None:
                return literal_term(self.frame[self.variable_base + shape[1]])
            return [int(Term.VAR), [number]]
        if tag == shapes.LITERAL:
            return shape[1]
        if tag == shapes.LITERAL_SCALAR:
            return shape[2]
        if tag == shapes.OBJECT:
            return {key: self.term(value) for key, value in shape[1]}
        if tag == Term.FUNC:
            mine = [len(self.names) + 1 + i for i in range(len(shape[1]))]
            self.names.update(zip(shape[1], mine, strict=True))
            return [tag, [[int(Term.MAKE_ARRAY), mine], self.term(shape[2])]]
        args = [self.term(arg) for arg in shape[1]]
        if shape[2]:
            return [tag, args, {name: self.term(value) for name, value in shape[2]}]
        return [tag, args]


def literal_term(value: Any) -> Any:
    """The wire term for a datum: arrays and the extremes become terms, the rest stands for itself. Raises DatumError
    for a value that is too large."""
    check_size(value)
    return _literal_term(value)


def _literal_term(value: Any) -> Any:
    kind = type(value)
    if kind is list:
        return [int(Term.MAKE_ARRAY), [_literal_term(item) for item in value]]
    if kind is dict:
        return {key: _literal_term(item) for key, item in value.items()}
    if kind is Extreme:
        return [int(Term.MINVAL if value is MINVAL else Term.MAXVAL)]
    return value


_PLAIN = frozenset({dict, list, str, int, float, bool, type(None)})
