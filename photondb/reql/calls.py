"""Calls of terms that are typed functions: what their signatures leave to the compiler.

Arguments are checked and optional ones named, `r.args` is spread out, a term on objects is mapped over a sequence of
them, and grouped data is gone through group by group.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from photondb.datum.types import type_name
from photondb.reql import shape as shapes
from photondb.reql.callsite import Run, call_closure
from photondb.reql.effects import Effects
from photondb.reql.errors import CompileError, ErrorKind, Frames, ReqlError, logic_error
from photondb.reql.function import Frame, Func, literal_term
from photondb.reql.parameters import Check, constant_function
from photondb.reql.registry import Definition
from photondb.reql.shape import Shape
from photondb.reql.steps import FilterStep, MapStep
from photondb.reql.stream import Stream, apply_step
from photondb.reql.values import Database, Grouped, as_datum, is_sequence, print_value, truncated
from photondb.reql.wire import Term

if TYPE_CHECKING:
    from photondb.reql.compiler import Compiler, Node

Argument = tuple[Run, Check | None]
Named = list[tuple[str, Run, Check | None]]
OnSubject = Callable[[Frame, Any], Any]
"""A call whose first argument has been evaluated."""


def compile_call(compiler: Compiler, definition: Definition, shape: Shape, path: Frames) -> tuple[Run, Effects, bool]:
    """The closure of a call of a typed term, its effects, and whether its value may be grouped. Raises CompileError."""
    _, arg_shapes, optarg_shapes = shape
    compiler.check_optargs(definition.optargs, optarg_shapes, path, definition.over_sequences != "")
    spliced = any(arg[0] == Term.ARGS for arg in arg_shapes)
    problem = None if spliced else definition.arity_error(len(arg_shapes))
    if problem is not None:
        raise CompileError(problem, path)
    left_out = not spliced and definition.lacks_database(len(arg_shapes))
    nodes = []
    for position, arg in enumerate(arg_shapes):
        shortcut = "" if spliced else definition.parameter(position + left_out).kind.shortcut
        literals = definition.literals and position > 0
        nodes.append(compiler.compile(compiler.as_parameter(shortcut, arg), (*path, position), literals))
    named, own_effects = _named(compiler, definition, optarg_shapes, path)
    own_effects |= definition.effects_of(0 if spliced else len(arg_shapes))
    for node in nodes[1:]:
        own_effects |= node.effects
    grouped = bool(nodes) and nodes[0].grouped and definition.grouped != "whole"
    call = _Call(definition, named, path)
    if spliced:
        run = _spliced(call, nodes, grouped)
    else:
        args = [(node.run, call.check(position, left_out)) for position, node in enumerate(nodes)]
        element = _Element(compiler, shape, own_effects) if definition.over_sequences else None
        run = _written_out(call, shape, args, left_out, grouped, element)
    effects = own_effects | nodes[0].effects if nodes else own_effects
    return run, effects, definition.gives_groups(grouped)


def _named(
    compiler: Compiler, definition: Definition, given: tuple[tuple[str, Shape], ...], path: Frames
) -> tuple[Named, Effects]:
    """The optional arguments: those that are given, and run options of the same names."""
    effects = Effects.NONE
    named: Named = []
    present = set()
    for name, shape in given:
        if name == shapes.NO_RECURSE:
            continue
        kind = definition.optargs[name].kind
        node = compiler.compile(compiler.as_parameter(kind.shortcut, shape), (*path, name))
        effects |= node.effects
        present.add(name)
        named.append((name, node.run, kind.check((*path, name))))
    for name in sorted(compiler.options):
        if name in definition.optargs and name not in present:
            kind = definition.optargs[name].kind
            named.append((name, _option(name), kind.check((*path, name))))
    return named, effects


def _option(name: str) -> Run:
    return lambda frame: frame[0].options[name]


class _Call:
    """What the closures of one call share. `with_values` calls the function with arguments that have been evaluated."""

    def __init__(self, definition: Definition, named: Named, path: Frames) -> None:
        self.definition = definition
        self.named = named
        self.path = path
        self._closures: dict[int, Run] = {}

    def check(self, position: int, left_out: bool = False) -> Check | None:
        """The check of the argument at `position`."""
        return self.definition.parameter(position + left_out).kind.check((*self.path, position))

    def closure(self, args: list[Argument]) -> Run:
        """A closure for a frame that holds the runtime, the query's own frame, and then evaluated arguments."""
        named: Named = [(name, _in_outer_frame(run), check) for name, run, check in self.named]
        return call_closure(self.definition.function, self.definition.wants_runtime, args, named, self.path)

    def with_values(self, frame: Frame, *values: Any) -> Any:
        count = len(values)
        closure = self._closures.get(count)
        if closure is None:
            problem = self.definition.arity_error(count)
            if problem is not None:
                raise self.at(logic_error(problem))
            left_out = self.definition.lacks_database(count)
            args: list[Argument] = [(_default_database, None)] if left_out else []
            args += [(operator.itemgetter(2 + i), self.check(i, left_out)) for i in range(count)]
            closure = self._closures[count] = self.closure(args)
        return closure([frame[0], frame, *values])

    def at(self, error: ReqlError) -> ReqlError:
        """The error, of this call."""
        if error.frames is None:
            error.frames = self.path
        return error

    def divided(self, value: Any, frame: Frame) -> Any:
        """A value, as grouped data if it is a grouped stream and the term does not take that as it is."""
        if isinstance(value, Stream) and value.grouping is not None and not self.definition.takes_grouped_stream:
            return value.to_grouped(frame[0])
        return value

    def takes(self, value: Any) -> bool:
        """Whether a value is an object that a term on objects takes."""
        return type(value) is dict and (
            "$reql_type$" not in value or value["$reql_type$"] in self.definition.pseudotypes
        )

    def over(self, sequence: Any, func: Func, frame: Frame) -> Any:
        """The term, mapped over a sequence by a function that applies it to one element."""
        mode = self.definition.over_sequences
        step = FilterStep(func) if mode == "filter" else MapStep(func, skip_missing=mode == "skip_map")
        return apply_step(sequence, step, frame[0])

    def refuse(self, value: Any) -> ReqlError:
        """The error for what is neither an object nor a sequence."""
        if type(value) is dict:
            return logic_error(f"Cannot call `{self.definition.name}` on objects of type `{type_name(value)}`.")
        kind = ErrorKind.NON_EXISTENCE if value is None else ErrorKind.LOGIC
        shown = truncated(print_value(value))
        return ReqlError(kind, f"Cannot perform {self.definition.name} on a non-object non-sequence `{shown}`.")


class _Element:
    """An element of a sequence that a term on objects is mapped over, as the variable of a function: `shape` is the
    function that applies the term to it, with the arguments that the term has."""

    def __init__(self, compiler: Compiler, shape: Shape, effects: Effects) -> None:
        number = compiler.new_variable()
        self.compiler = compiler
        self.effects = effects
        self.nested = any(name == shapes.NO_RECURSE for name, _ in shape[2])
        """Whether the term stands in such a function already: elements may not be sequences in their turn."""
        self.slot = compiler.variable_base + number
        optargs = (*shape[2], (shapes.NO_RECURSE, (shapes.LITERAL, "")))
        self.shape: Shape = (int(Term.FUNC), (number,), (shape[0], ((shapes.VAR, number), *shape[1][1:]), optargs))

    def function(self, run: Run, path: Frames) -> Run:
        """The closure that gives the function, from the one that applies the term to what is in the variable's slot."""
        return self.compiler.function_of(self.shape, run, self.effects, path).run


def _written_out(
    call: _Call, shape: Shape, args: list[Argument], left_out: bool, grouped: bool, element: _Element | None
) -> Run:
    """The closure of a call whose arguments all stand in the query."""
    definition = call.definition
    runs = [run for run, _ in args]
    if not definition.over_sequences and not grouped:
        run = _fast(call, shape, runs, call.with_values)
        if run is not None:
            return run
        if left_out:
            args.insert(0, (_default_database, None))
        return call_closure(definition.function, definition.wants_runtime, args, call.named, call.path)
    mapped = None
    if element is not None and not element.nested:
        on_element = _on_subject(call, args, None)
        run = _on_value(call, element.shape[2], [operator.itemgetter(element.slot), *runs[1:]], on_element)
        mapped = element.function(run, call.path)
    on_subject = _on_subject(call, args, mapped)
    return _each_group(call, runs[0], on_subject) if grouped else _on_value(call, shape, runs, on_subject)


def _on_value(call: _Call, shape: Shape, runs: list[Run], on_subject: OnSubject) -> Run:
    subject = runs[0]
    return _fast(call, shape, runs, on_subject) or (lambda frame: on_subject(frame, subject(frame)))


def _fast(call: _Call, shape: Shape, runs: list[Run], general: Callable[..., Any]) -> Run | None:
    fast = call.definition.fast
    return None if fast is None or call.named else fast(shape, runs, general)


def _on_subject(call: _Call, args: list[Argument], mapped: Run | None) -> OnSubject:
    """The call for a first argument that has been evaluated: a value, or a sequence of what the term takes, over which
    the function that `mapped` gives is mapped."""
    rest: list[Argument] = [(_in_outer_frame(run), check) for run, check in args[1:]]
    plain = call.closure([(operator.itemgetter(2), args[0][1]), *rest])
    if not call.definition.over_sequences:
        return lambda frame, value: plain([frame[0], frame, value])

    def on_subject(frame: Frame, value: Any) -> Any:
        if type(value) is dict and "$reql_type$" not in value:
            return plain([frame[0], frame, value])
        try:
            if is_sequence(value):
                if mapped is None:
                    raise logic_error(f"Cannot perform {call.definition.name} on a sequence of sequences.")
                return call.over(value, mapped(frame), frame)
            value = as_datum(value)
            if not call.takes(value):
                raise call.refuse(value)
        except ReqlError as error:
            raise call.at(error) from None
        return plain([frame[0], frame, value])

    return on_subject


def _each_group(call: _Call, subject: Run, on_subject: OnSubject) -> Run:
    """The call for a first argument that may be grouped data: it is made for each group."""

    def run(frame: Frame) -> Any:
        value = call.divided(subject(frame), frame)
        if type(value) is not Grouped:
            return on_subject(frame, value)
        return Grouped([(group, _member(on_subject(frame, member), frame)) for group, member in value.pairs])

    return run


def _member(value: Any, frame: Frame) -> Any:
    return value.to_list(frame[0]) if isinstance(value, Stream) and value.table is None else as_datum(value)


def _spliced(call: _Call, nodes: list[Node], grouped: bool) -> Run:
    """The closure of a call with `r.args` among its arguments: how many there are is known only when it runs."""
    parts = [(node.run, node.shape[0] == Term.ARGS, node.effects) for node in nodes]
    delayed = [
        position
        for position, parameter in enumerate(call.definition.parameters)
        if parameter.kind.shortcut == "delayed"
    ]

    def run(frame: Frame) -> Any:
        values: list[Any] = []
        effects: list[Effects] = []
        for part, splice, effect in parts:
            if splice:
                values.extend(part(frame))
            else:
                values.append(part(frame))
            effects += [effect] * (len(values) - len(effects))
        for position in delayed:
            if position < len(values) and type(values[position]) is not Func:
                values[position] = constant_function(as_datum(values[position]), effects[position])
        first = call.divided(values[0], frame) if grouped and values else None
        if type(first) is Grouped:
            results = [(group, on_values(frame, [member, *values[1:]])) for group, member in first.pairs]
            return Grouped([(group, _member(result, frame)) for group, result in results])
        return on_values(frame, values)

    def on_values(frame: Frame, values: list[Any]) -> Any:
        if call.definition.over_sequences and values:
            try:
                if is_sequence(values[0]):
                    return call.over(values[0], _mapped_over(call, values[1:], frame[0].array_limit), frame)
                values[0] = as_datum(values[0])
                if not call.takes(values[0]):
                    raise call.refuse(values[0])
            except ReqlError as error:
                raise call.at(error) from None
        return call.with_values(frame, *values)

    return run


def _mapped_over(call: _Call, rest: list[Any], array_limit: int) -> Func:
    """The function that applies a term to an element of a sequence, with arguments that have been evaluated."""
    args = [value.to_wire()[:2] if type(value) is Func else literal_term(value) for value in rest]
    body = [int(call.definition.number), [[int(Term.VAR), [1]], *args], {shapes.NO_RECURSE: True}]
    about = {"frames": list(call.path), "literals": call.definition.literals, "array_limit": array_limit}
    return Func.from_wire([int(Term.FUNC), [[int(Term.MAKE_ARRAY), [1]], body], about])


def _in_outer_frame(run: Run) -> Run:
    """A closure for the frame of a call, out of one for the query's own frame, which stands at 1 in it."""
    return lambda frame: run(frame[1])


def _default_database(frame: Frame) -> Database:
    return frame[0].default_database()  # type: ignore[no-any-return]
