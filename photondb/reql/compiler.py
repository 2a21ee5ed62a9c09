"""The compiler: from the shape of a query to closures that evaluate it.

Every term becomes a closure over the closures of its arguments, which takes the frame (the runtime, the constants and
the variables) and gives a value. What is known before the query runs is settled here: arity, names of optional
arguments, where functions capture variables, which fields they look at, whether they may run in storage.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable
from typing import Any

from photondb.datum.errors import DatumError
from photondb.datum.types import type_name
from photondb.datum.validation import validate
from photondb.reql import shape as shapes
from photondb.reql.callsite import Run, call_closure
from photondb.reql.effects import Effects
from photondb.reql.errors import CompileError, ErrorKind, Frames, ReqlError, logic_error
from photondb.reql.function import Frame, Func, FunctionCode, literal_term
from photondb.reql.parameters import Check, reql_error
from photondb.reql.registry import SPECIAL_FORMS, TERMS, Definition, arity_text
from photondb.reql.shape import Shape, Shaper
from photondb.reql.steps import FilterStep, MapStep
from photondb.reql.stream import Stream, apply_step
from photondb.reql.values import Database, Grouped, as_datum, is_sequence, print_value, truncated
from photondb.reql.wire import Term

FUNCTION_CACHE_SIZE = 4096
NO_RECURSE = "_NO_RECURSE_"
"""The optional argument that marks a term which is already mapped over a sequence; drivers never send it."""


class Node:
    """A compiled term: its closure and what is known about it.

    `grouped` says that its value may be grouped data (or a grouped stream); of a function, that its result may be.
    """

    __slots__ = ("effects", "grouped", "run", "shape")

    def __init__(self, run: Run, shape: Shape, effects: Effects = Effects.NONE, grouped: bool = False) -> None:
        self.run = run
        self.shape = shape
        self.effects = effects
        self.grouped = grouped


class Compiler:
    """Compiles one query. `options` are the names of its run options, which stand in for optional arguments."""

    def __init__(self, constants: int, variables: int, options: frozenset[str] = frozenset()) -> None:
        self.variable_base = 1 + constants
        self.variables = variables
        self.options = options

    @property
    def frame_size(self) -> int:
        """How many slots a frame of the query needs."""
        return self.variable_base + self.variables

    def new_variable(self) -> int:
        """The number of a variable that the query itself does not have."""
        self.variables += 1
        return self.variables - 1

    def compile(self, shape: Shape, path: Frames) -> Node:
        """Compile the term at `path`. Raises CompileError."""
        tag = shape[0]
        if tag == shapes.CONSTANT:
            return Node(operator.itemgetter(1 + shape[1]), shape)
        if tag == shapes.NOW:
            return Node(operator.itemgetter(1 + shape[1]), shape, Effects.NOW)
        if tag == shapes.VAR:
            return Node(operator.itemgetter(self.variable_base + shape[1]), shape)
        if tag == shapes.LITERAL:
            value = shape[1]
            return Node(lambda _: value, shape)
        if tag == shapes.LITERAL_SCALAR:
            value = shape[2]
            return Node(lambda _: value, shape)
        if tag == shapes.OBJECT:
            return self._object(shape, path)
        if tag == Term.FUNC:
            return self.function(shape, path)
        special = SPECIAL_FORMS.get(tag)
        if special is not None:
            return special(self, shape, path)
        definition = TERMS.get(tag)
        if definition is None:
            raise CompileError(f"{Term(tag).name} is not supported yet.", path)
        return self._call(definition, shape, path)

    # --- objects and functions

    def _object(self, shape: Shape, path: Frames) -> Node:
        effects = Effects.NONE
        pairs: list[tuple[str, Run]] = []
        for key, value in shape[1]:
            node = self.compile(value, (*path, key))
            effects |= node.effects
            pairs.append((key, node.run))

        def run(frame: Frame) -> Any:
            try:
                made = {key: as_datum(value(frame)) for key, value in pairs}
            except ReqlError as error:
                if error.frames is None:
                    error.frames = path
                raise
            if "$reql_type$" in made:
                return check_pseudotype(made, path)
            return made

        return Node(run, shape, effects)

    def function(self, shape: Shape, path: Frames) -> Node:
        """Compile a FUNC shape; its value is a Func."""
        parameters, body_shape = shape[1], shape[2]
        body = self.compile(body_shape, (*path, 1))
        code = FunctionCode(
            slots=tuple(self.variable_base + number for number in parameters),
            body=body.run,
            shape=shape,
            variable_base=self.variable_base,
            captures=frozenset(free_variables(shape)),
            effects=body.effects,
            fields=fields_of(body_shape, parameters[0]) if parameters else frozenset(),
            object_body=body_shape[0] in (shapes.OBJECT, shapes.CONSTANT),
            path=(*path, 1),
        )
        return Node(lambda frame: Func(code, frame), shape, body.effects, body.grouped)

    # --- terms that are typed functions

    def _call(self, definition: Definition, shape: Shape, path: Frames) -> Node:
        _, arg_shapes, optarg_shapes = shape
        self.check_optargs(definition.optargs, optarg_shapes, path, definition.over_sequences != "")
        if any(arg[0] == Term.ARGS for arg in arg_shapes):
            return self._spliced_call(definition, shape, path)
        problem = definition.arity_error(len(arg_shapes))
        if problem is not None:
            raise CompileError(problem, path)
        args: list[tuple[Run, Check | None]] = []
        effects = definition.effects
        grouped = False
        left_out = definition.lacks_database(len(arg_shapes))
        if left_out:
            args.append((_default_database, None))
        for position, arg in enumerate(arg_shapes):
            kind = definition.parameter(position + left_out).kind
            node = self.compile(self.as_parameter(kind.shortcut, arg), (*path, position))
            effects |= node.effects
            if position == 0:
                grouped = node.grouped
            args.append((node.run, kind.check((*path, position))))
        named, named_effects = self._named(definition, optarg_shapes, path)
        effects |= named_effects
        run = call_closure(definition.function, definition.wants_runtime, args, named, path)
        if definition.over_sequences:
            run = self._over_sequences(definition, shape, path, run, args)
        if grouped and definition.grouped != "whole":
            run = _each_group(definition, args, named, path, run)
        return Node(run, shape, effects, definition.gives_groups(grouped))

    def as_parameter(self, shortcut: str, shape: Shape) -> Shape:
        """An argument's shape as its parameter takes it: a field's name becomes the function that takes the field, a
        delayed argument a function without parameters."""
        if shortcut == "field" and shape[0] == shapes.LITERAL:
            number = self.new_variable()
            return (int(Term.FUNC), (number,), (int(Term.GET_FIELD), ((shapes.VAR, number), shape), ()))
        if shortcut == "delayed":
            return (int(Term.FUNC), (), shape)
        return shape

    def check_optargs(
        self,
        known: Iterable[str],
        given: tuple[tuple[str, Shape], ...],
        path: Frames,
        no_recurse: bool = False,
    ) -> None:
        """Raise for an optional argument that the term does not have."""
        for name, _ in given:
            if name not in known and not (no_recurse and name == NO_RECURSE):
                raise CompileError(f"Unrecognized optional argument `{name}`.", (*path, name))

    def _named(
        self, definition: Definition, given: tuple[tuple[str, Shape], ...], path: Frames
    ) -> tuple[list[tuple[str, Run, Check | None]], Effects]:
        effects = Effects.NONE
        named: list[tuple[str, Run, Check | None]] = []
        present = set()
        for name, shape in given:
            if name == NO_RECURSE:
                continue
            kind = definition.optargs[name].kind
            node = self.compile(self.as_parameter(kind.shortcut, shape), (*path, name))
            effects |= node.effects
            present.add(name)
            named.append((name, node.run, kind.check((*path, name))))
        for name in sorted(self.options):
            if name in definition.optargs and name not in present:
                kind = definition.optargs[name].kind
                named.append((name, _option(name), kind.check((*path, name))))
        return named, effects

    def _spliced_call(self, definition: Definition, shape: Shape, path: Frames) -> Node:
        """A call with `r.args` among its arguments: how many there are is known only when it runs."""
        _, arg_shapes, optarg_shapes = shape
        effects = definition.effects
        parts: list[tuple[Run, bool]] = []
        grouped = False
        for position, arg in enumerate(arg_shapes):
            node = self.compile(arg, (*path, position))
            effects |= node.effects
            grouped = grouped or (position == 0 and node.grouped)
            parts.append((node.run, arg[0] == Term.ARGS))
        named, named_effects = self._named(definition, optarg_shapes, path)
        effects |= named_effects
        compiler_over = definition.over_sequences

        def run(frame: Frame) -> Any:
            values: list[Any] = []
            for part, splice in parts:
                if splice:
                    values.extend(part(frame))
                else:
                    values.append(part(frame))
            first = _divided(definition, values[0], frame) if grouped and values else None
            if type(first) is not Grouped:
                return call(values, frame)
            results = [(group, call([member, *values[1:]], frame)) for group, member in first.pairs]
            return Grouped([(group, _group_member(result, frame)) for group, result in results])

        def call(values: list[Any], frame: Frame) -> Any:
            problem = definition.arity_error(len(values))
            if problem is not None:
                error = logic_error(problem)
                error.frames = path
                raise error
            left_out = definition.lacks_database(len(values))
            args: list[tuple[Run, Check | None]] = [
                (_giver(value), definition.parameter(position + left_out).kind.check((*path, position)))
                for position, value in enumerate(values)
            ]
            if left_out:
                args.insert(0, (_default_database, None))
            if compiler_over and values and is_sequence(values[0]):
                func = _mapped_function(definition.number, values[1:])
                return _apply_over(definition, values[0], func, frame)
            return call_closure(definition.function, definition.wants_runtime, args, named, path)(frame)

        return Node(run, shape, effects, definition.gives_groups(grouped))

    # --- terms on objects that also take sequences of objects

    def _over_sequences(
        self, definition: Definition, shape: Shape, path: Frames, direct: Run, args: list[tuple[Run, Check | None]]
    ) -> Run:
        recurses = not any(name == NO_RECURSE for name, _ in shape[2])
        subject = args[0][0]
        accepted = definition.pseudotypes
        make_function: Run | None = None
        if recurses:
            number = self.new_variable()
            mapped = (shape[0], ((shapes.VAR, number), *shape[1][1:]), (*shape[2], (NO_RECURSE, (shapes.LITERAL, ""))))
            make_function = self.function((int(Term.FUNC), (number,), mapped), path[:-1]).run
        call_with_value = call_closure(
            definition.function,
            definition.wants_runtime,
            [(_subject_slot, args[0][1]), *((_shifted(run), check) for run, check in args[1:])],
            [],
            path,
        )
        del direct

        def run(frame: Frame) -> Any:
            value = subject(frame)
            if type(value) is dict:
                if "$reql_type$" not in value or value["$reql_type$"] in accepted:
                    return call_with_value([frame[0], value, frame])
            elif is_sequence(value):
                if make_function is None:
                    raise _at(path, logic_error(f"Cannot perform {definition.name} on a sequence of sequences."))
                return _apply_over(definition, value, make_function(frame), frame)
            return _on_other_value(definition, value, path, call_with_value, frame)

        return run


def _subject_slot(frame: Frame) -> Any:
    return frame[1]


def _shifted(run: Run) -> Run:
    """The closure for a frame that stands at position 2 of a call's own frame (runtime, subject, frame)."""
    return lambda outer: run(outer[2])


def _on_other_value(definition: Definition, value: Any, path: Frames, call: Run, frame: Frame) -> Any:
    try:
        datum = as_datum(value)
    except ReqlError as error:
        raise _at(path, error) from None
    if type(datum) is dict:
        if "$reql_type$" not in datum or datum["$reql_type$"] in definition.pseudotypes:
            return call([frame[0], datum, frame])
        raise _at(path, logic_error(f"Cannot call `{definition.name}` on objects of type `{type_name(datum)}`."))
    kind = ErrorKind.NON_EXISTENCE if datum is None else ErrorKind.LOGIC
    shown = truncated(print_value(datum))
    raise ReqlError(kind, f"Cannot perform {definition.name} on a non-object non-sequence `{shown}`.", path)


def _apply_over(definition: Definition, sequence: Any, func: Func, frame: Frame) -> Any:
    if definition.over_sequences == "filter":
        return apply_step(sequence, FilterStep(func), frame[0])
    return apply_step(sequence, MapStep(func, definition.over_sequences == "skip_map"), frame[0])


def _mapped_function(number: int, rest: list[Any]) -> Func:
    args = [[int(Term.VAR), [1]], *(literal_term(value) for value in rest)]
    return compile_function([int(Term.FUNC), [[int(Term.MAKE_ARRAY), [1]], [number, args]]])


def _giver(value: Any) -> Run:
    return lambda _: value


def _default_database(frame: Frame) -> Database:
    return frame[0].default_database()  # type: ignore[no-any-return]


def _option(name: str) -> Run:
    return lambda frame: frame[0].options[name]


def _at(path: Frames, error: ReqlError) -> ReqlError:
    if error.frames is None:
        error.frames = path
    return error


def _each_group(
    definition: Definition,
    args: list[tuple[Run, Check | None]],
    named: list[tuple[str, Run, Check | None]],
    path: Frames,
    plain: Run,
) -> Run:
    """The call for a first argument that may be grouped data: it is made for each group."""
    subject = args[0][0]

    def run(frame: Frame) -> Any:
        value = _divided(definition, subject(frame), frame)
        if type(value) is not Grouped:
            rest = [(_giver(value), args[0][1]), *args[1:]]
            return call_closure(definition.function, definition.wants_runtime, rest, named, path)(frame)
        pairs = []
        for group, member in value.pairs:
            rest = [(_giver(member), args[0][1]), *args[1:]]
            if definition.over_sequences:
                result = _grouped_over(definition, member, args, path, frame)
            else:
                result = call_closure(definition.function, definition.wants_runtime, rest, named, path)(frame)
            pairs.append((group, _group_member(result, frame)))
        return Grouped(pairs)

    del plain
    return run


def _divided(definition: Definition, value: Any, frame: Frame) -> Any:
    """A value, as grouped data if it is a grouped stream and the term does not take that as it is."""
    if isinstance(value, Stream) and value.grouping is not None and not definition.takes_grouped_stream:
        return value.to_grouped(frame[0])
    return value


def _grouped_over(
    definition: Definition, member: Any, args: list[tuple[Run, Check | None]], path: Frames, frame: Frame
) -> Any:
    values = [run(frame) for run, _ in args[1:]]
    if is_sequence(member):
        return _apply_over(definition, member, _mapped_function(definition.number, values), frame)
    checked = [(_giver(value), check) for value, (_, check) in zip(values, args[1:], strict=True)]
    subject = (_giver(member), args[0][1])
    return call_closure(definition.function, definition.wants_runtime, [subject, *checked], [], path)(frame)


def _group_member(value: Any, frame: Frame) -> Any:
    return value.to_list(frame[0]) if isinstance(value, Stream) and value.table is None else as_datum(value)


def check_pseudotype(value: dict[str, Any], path: Frames) -> Any:
    """An object with a `$reql_type$`, checked and in its canonical form."""
    try:
        return validate(value, literals=True)
    except DatumError as error:
        raise reql_error(error, path) from None


# --- what a shape says about variables


def free_variables(shape: Shape) -> set[int]:
    """The variables that a shape uses and does not bind itself."""
    tag = shape[0]
    if tag == shapes.VAR:
        return {shape[1]}
    if tag == Term.FUNC:
        return free_variables(shape[2]) - set(shape[1])
    found: set[int] = set()
    for child in _children(shape):
        found |= free_variables(child)
    return found


def _children(shape: Shape) -> Iterable[Shape]:
    tag = shape[0]
    if tag == shapes.OBJECT:
        return [value for _, value in shape[1]]
    if tag < 0:
        return ()
    if tag == Term.FUNC:
        return (shape[2],)
    return [*shape[1], *(value for _, value in shape[2])]


_FIELD_TERMS = frozenset({Term.BRACKET, Term.GET_FIELD, Term.HAS_FIELDS, Term.PLUCK})


def fields_of(shape: Shape, variable: int) -> frozenset[str] | None:
    """The top-level fields of a variable's value that a shape looks at; None when it may look at all of them."""
    tag = shape[0]
    if tag == shapes.VAR:
        return None if shape[1] == variable else frozenset()
    if tag in _FIELD_TERMS and shape[1] and shape[1][0] == (shapes.VAR, variable):
        if all(arg[0] == shapes.LITERAL for arg in shape[1][1:]):
            return frozenset(arg[1] for arg in shape[1][1:])
        return None
    found: frozenset[str] = frozenset()
    for child in _children(shape):
        fields = fields_of(child, variable)
        if fields is None:
            return None
        found |= fields
    return found


# --- functions by themselves


@functools.lru_cache(maxsize=FUNCTION_CACHE_SIZE)
def _function_of_shape(
    shape: Shape, constants: int, variables: int, frames: Frames
) -> tuple[Callable[[Frame], Func], int]:
    compiler = Compiler(constants, variables)
    node = compiler.function(shape, frames[:-1])
    return node.run, compiler.frame_size


def compile_function(term: list[Any]) -> Func:
    """The function of a FUNC term that captures nothing, by way of a cache of shapes. Raises CompileError.

    A third element {"frames": [...]} says where its body stood in the query that it was taken from.
    """
    frames: Frames = (1,)
    if len(term) == 3:
        frames = tuple(term[2]["frames"]) or frames
        term = term[:2]
    shaper = Shaper(now=None)
    shape = shaper.shape(term)
    make, size = _function_of_shape(shape, len(shaper.constants), shaper.variables, frames)
    frame: Frame = [_NO_RUNTIME, *shaper.constants]
    frame.extend([None] * (size - len(frame)))
    return make(frame)


class _NoRuntime:
    """Stands where a function that runs by itself has no query around it: limits, but no services."""

    array_limit = 100_000
    options: dict[str, Any] = {}  # noqa: RUF012  # never changed

    def checkpoint(self) -> None:
        """Functions that run in storage are bounded by the array limit."""


_NO_RUNTIME = _NoRuntime()


__all__ = [
    "Compiler",
    "Node",
    "arity_text",
    "check_pseudotype",
    "compile_function",
    "fields_of",
    "free_variables",
]
