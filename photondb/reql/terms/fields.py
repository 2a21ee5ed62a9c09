"""Taking a field of an object or an element of a sequence: `row["age"]`, `get_field`."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from photondb.datum.text import print_datum
from photondb.datum.types import type_name
from photondb.reql import shape as shapes
from photondb.reql.compiler import Compiler, Node
from photondb.reql.errors import CompileError, ErrorKind, Frames, ReqlError, logic_error, non_existence_error
from photondb.reql.function import Frame, Func
from photondb.reql.parameters import STRING, as_int32
from photondb.reql.registry import special_form
from photondb.reql.shape import Shape
from photondb.reql.steps import MapStep
from photondb.reql.stream import Stream, apply_step
from photondb.reql.terms.control import check_arity
from photondb.reql.terms.slicing import nth
from photondb.reql.values import Grouped, SingleSelection, as_datum, is_sequence, print_value, truncated
from photondb.reql.wire import Term


def missing_field(name: str, value: Any) -> ReqlError:
    """The error for a field that an object does not have."""
    return non_existence_error(f"No attribute `{name}` in object:\n{print_datum(value)}")


def _access(name: str, accepts_numbers: bool) -> Callable[[Compiler, Shape, Frames], Node]:
    """`bracket` and `get_field`: alike but for numbers, with which `bracket` takes an element."""

    def form(compiler: Compiler, shape: Shape, path: Frames) -> Node:
        check_arity(shape, path, 2, 2)
        compiler.check_optargs((shapes.NO_RECURSE,), shape[2], path)
        if any(arg[0] == Term.ARGS for arg in shape[1]):
            raise CompileError(f"`r.args` is not supported in `{name}`.", path)
        subject = compiler.compile(shape[1][0], (*path, 0))
        which = compiler.compile(shape[1][1], (*path, 1))
        effects = subject.effects | which.effects
        mapped = None
        if not shape[2]:
            number = compiler.new_variable()
            body = (shape[0], ((shapes.VAR, number), shape[1][1]), ((shapes.NO_RECURSE, (shapes.LITERAL, "")),))
            element = Node(operator.itemgetter(compiler.variable_base + number), body[1][0])
            run = _access_to(element, which, _Access(name, path, None, accepts_numbers))
            mapped = compiler.function_of((int(Term.FUNC), (number,), body), run, which.effects, path)
        access = _Access(name, path, mapped, accepts_numbers)
        run = _access_to(subject, which, access)
        if subject.grouped:
            run = _grouped_access(subject, which, access)
        return Node(run, shape, effects, subject.grouped)

    return form


class _Access:
    """What all forms of an access share, away from the hot path."""

    def __init__(self, name: str, path: Frames, mapped: Node | None, accepts_numbers: bool) -> None:
        self.name = name
        self.path = path
        self.mapped = mapped
        self.accepts_numbers = accepts_numbers

    def of(self, frame: Frame, value: Any, which: Any) -> Any:
        """The field or element `which` of any value."""
        try:
            which = as_datum(which)
            if type(which) is str:
                return self._field(frame, value, which)
            if not self.accepts_numbers:
                STRING.convert(which)  # type: ignore[misc]
            if type(which) in (int, float):
                return nth(frame[0], value, as_int32(which))
            kind = ErrorKind.NON_EXISTENCE if which is None else ErrorKind.LOGIC
            raise ReqlError(
                kind,
                f"Expected NUMBER or STRING as second argument to `{self.name}` but found {type_name(which)}.",
            )
        except ReqlError as error:
            if error.frames is None:
                error.frames = self.path
            raise

    def _field(self, frame: Frame, value: Any, field: str) -> Any:
        if type(value) is SingleSelection:
            value = value.row
        if type(value) is dict:
            if "$reql_type$" in value:
                raise logic_error(f"Cannot call `{self.name}` on objects of type `{type_name(value)}`.")
            if field in value:
                return value[field]
            raise missing_field(field, value)
        if is_sequence(value):
            if self.mapped is None:
                raise logic_error(f"Cannot perform {self.name} on a sequence of sequences.")
            func: Func = self.mapped.run(frame)
            return apply_step(value, MapStep(func, skip_missing=True), frame[0])
        kind = ErrorKind.NON_EXISTENCE if value is None else ErrorKind.LOGIC
        shown = truncated(print_value(value))
        raise ReqlError(kind, f"Cannot perform {self.name} on a non-object non-sequence `{shown}`.")


def _access_to(subject: Node, which: Node, access: _Access) -> Callable[[Frame], Any]:
    if which.shape[0] == shapes.LITERAL:
        return _literal_access(subject, which.shape[1], access)
    return _computed_access(subject, which, access)


def _literal_access(subject: Node, field: str, access: _Access) -> Callable[[Frame], Any]:
    take = subject.run

    def run(frame: Frame) -> Any:
        value = take(frame)
        if type(value) is dict and field in value and "$reql_type$" not in value:
            return value[field]
        return access.of(frame, value, field)

    return run


def _computed_access(subject: Node, which: Node, access: _Access) -> Callable[[Frame], Any]:
    return lambda frame: access.of(frame, subject.run(frame), which.run(frame))


def _grouped_access(subject: Node, which: Node, access: _Access) -> Callable[[Frame], Any]:
    def run(frame: Frame) -> Any:
        value = subject.run(frame)
        wanted = which.run(frame)
        if isinstance(value, Stream) and value.grouping is not None and type(wanted) is not str:
            value = value.to_grouped(frame[0])
        if type(value) is Grouped:
            return Grouped([(group, as_datum(access.of(frame, member, wanted))) for group, member in value.pairs])
        return access.of(frame, value, wanted)

    return run


special_form(
    Term.BRACKET,
    "value: object or sequence, which: string or 32-bit integer",
    grouped="stream",
    doc="A field of an object, by its name, of each object of a sequence that has it, or an element, by its position.",
)(_access("bracket", accepts_numbers=True))
special_form(
    Term.GET_FIELD,
    "value: object or sequence, field: string",
    grouped="stream",
    doc="A field of an object, or of each object of a sequence that has it.",
)(_access("get_field", accepts_numbers=False))
