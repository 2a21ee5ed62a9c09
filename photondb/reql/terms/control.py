"""Control: what is evaluated, when, and what happens when it fails."""

from __future__ import annotations

from typing import Any

from photondb.reql.compiler import Compiler, Node
from photondb.reql.effects import Effects
from photondb.reql.errors import (
    CompileError,
    EmptyUserError,
    ErrorKind,
    Frames,
    ReqlError,
    logic_error,
    user_error,
)
from photondb.reql.function import Frame, Func
from photondb.reql.parameters import ARRAY, BOOLEAN, constant_function
from photondb.reql.registry import arity_text, special_form, term
from photondb.reql.shape import Shape
from photondb.reql.stream import Stream
from photondb.reql.values import Grouped, as_datum, check_array_size, is_datum, wrong_type
from photondb.reql.wire import Term


def check_arity(shape: Shape, path: Frames, minimum: int, maximum: int | None) -> None:
    """Raise for a wrong number of arguments of a special form."""
    found = len(shape[1])
    if found < minimum or (maximum is not None and found > maximum):
        raise CompileError(f"Expected {arity_text(minimum, maximum)} but found {found}.", path)


def compile_all(compiler: Compiler, shape: Shape, path: Frames, literals: bool = False) -> tuple[list[Node], Effects]:
    """The compiled arguments of a term, in which `r.literal` may stand or not, and their effects together."""
    nodes = [compiler.compile(arg, (*path, position), literals) for position, arg in enumerate(shape[1])]
    effects = Effects.NONE
    for node in nodes:
        effects |= node.effects
    return nodes, effects


def spliced(shape: Shape) -> bool:
    """Whether `r.args` is among the arguments."""
    return any(arg[0] == Term.ARGS for arg in shape[1])


def spliced_values(nodes: list[Node], frame: Frame) -> list[Any]:
    """The values of the arguments, with those of `r.args` spread out."""
    values: list[Any] = []
    for node in nodes:
        if node.shape[0] == Term.ARGS:
            values.extend(node.run(frame))
        else:
            values.append(node.run(frame))
    return values


@special_form(Term.MAKE_ARRAY)
def make_array(compiler: Compiler, shape: Shape, path: Frames) -> Node:
    """An array of the arguments."""
    literals = compiler.literals  # only where `r.args` makes arguments of the elements
    compiler.check_optargs((), shape[2], path)
    nodes, effects = compile_all(compiler, shape, path, literals)
    if spliced(shape):

        def run_spliced(frame: Frame) -> list[Any]:
            made = [as_datum(value) for value in spliced_values(nodes, frame)]
            check_array_size(len(made), frame[0].array_limit)
            return made

        return Node(run_spliced, shape, effects)
    runs = [node.run for node in nodes]

    def run(frame: Frame) -> list[Any]:
        try:
            made = [as_datum(item(frame)) for item in runs]
            check_array_size(len(made), frame[0].array_limit)
        except ReqlError as error:
            if error.frames is None:
                error.frames = path
            raise
        return made

    return Node(run, shape, effects)


@special_form(Term.ARGS)
def args(compiler: Compiler, shape: Shape, path: Frames) -> Node:
    """An array whose elements become arguments of the term around it."""
    literals = compiler.literals
    check_arity(shape, path, 1, 1)
    compiler.check_optargs((), shape[2], path)
    inner = compiler.compile(shape[1][0], (*path, 0), literals and shape[1][0][0] == Term.MAKE_ARRAY)
    check = ARRAY.check((*path, 0))
    assert check is not None
    return Node(lambda frame: check(inner.run(frame)), shape, inner.effects)


@special_form(Term.BRANCH)
def branch(compiler: Compiler, shape: Shape, path: Frames) -> Node:
    """The value behind the first condition that holds; the last argument when none does."""
    compiler.check_optargs((), shape[2], path)
    nodes, effects = compile_all(compiler, shape, path)
    if spliced(shape):
        return _spliced_branch(nodes, shape, path, effects)
    check_arity(shape, path, 3, None)
    if len(nodes) % 2 == 0:
        raise CompileError("Cannot call `branch` term with an even number of arguments.", path)
    conditions = []
    for i in range(0, len(nodes) - 1, 2):
        check = BOOLEAN.check((*path, i))
        assert check is not None
        conditions.append((nodes[i].run, check, nodes[i + 1].run))
    otherwise = nodes[-1].run

    def run(frame: Frame) -> Any:
        for condition, check, value in conditions:
            if check(condition(frame)):
                return value(frame)
        return otherwise(frame)

    return Node(run, shape, effects, any(node.grouped for node in nodes))


def _spliced_branch(nodes: list[Node], shape: Shape, path: Frames, effects: Effects) -> Node:
    def run(frame: Frame) -> Any:
        values = spliced_values(nodes, frame)
        if len(values) < 3 or len(values) % 2 == 0:
            message = (
                f"Expected 3 or more arguments but found {len(values)}."
                if len(values) < 3
                else "Cannot call `branch` term with an even number of arguments."
            )
            error = logic_error(message)
            error.frames = path
            raise error
        for i in range(0, len(values) - 1, 2):
            if values[i] is not False and values[i] is not None:
                return values[i + 1]
        return values[-1]

    return Node(run, shape, effects)


def _logical(stop_at: bool) -> Any:
    def form(compiler: Compiler, shape: Shape, path: Frames) -> Node:
        compiler.check_optargs((), shape[2], path)
        nodes, effects = compile_all(compiler, shape, path)
        if spliced(shape):
            return Node(lambda frame: _decide(spliced_values(nodes, frame), stop_at), shape, effects)
        runs = [node.run for node in nodes]
        if not runs:
            return Node(lambda _: not stop_at, shape, effects)

        def run(frame: Frame) -> Any:
            value: Any = None
            for part in runs:
                value = part(frame)
                if value is not True and value is not False:
                    value = _truth_kept(value, path)
                    if (value is not None and value is not False) is stop_at:
                        return value
                elif value is stop_at:
                    return value
            return value

        return Node(run, shape, effects)

    return form


def _truth_kept(value: Any, path: Frames) -> Any:
    """The datum itself, which counts as true unless it is null or false."""
    try:
        return as_datum(value)
    except ReqlError as error:
        error.frames = error.frames or path
        raise


def _decide(values: list[Any], stop_at: bool) -> Any:
    value: Any = not stop_at
    for value in values:
        if (value is not None and value is not False) is stop_at:
            return value
    return value


special_form(Term.AND)(_logical(stop_at=False))
special_form(Term.OR)(_logical(stop_at=True))


@special_form(Term.DEFAULT)
def default(compiler: Compiler, shape: Shape, path: Frames) -> Node:
    """The first argument, or the second where the first is null or raises a non-existence error."""
    check_arity(shape, path, 2, 2)
    compiler.check_optargs((), shape[2], path)
    (subject, otherwise), effects = compile_all(compiler, shape, path)

    def run(frame: Frame) -> Any:
        caught: ReqlError | None = None
        try:
            value = subject.run(frame)
            if isinstance(value, Stream) or type(value) is Grouped or not _is_null(value):
                return value
            message: Any = None
        except ReqlError as error:
            if error.kind != ErrorKind.NON_EXISTENCE:
                raise
            caught, message, value = error, error.message, None
        try:
            instead = otherwise.run(frame)
            if type(instead) is Func:
                return instead.evaluate(message) if instead.slots else instead.evaluate()
        except EmptyUserError:
            if caught is not None:
                raise caught from None
            return value
        return instead

    return Node(run, shape, effects, subject.grouped)


def _is_null(value: Any) -> bool:
    try:
        return as_datum(value) is None
    except ReqlError:
        return False


@term(Term.ERROR)
def error(message: str = "") -> Any:
    """Fail with `message`; without one, within `default`, with the error that was caught."""
    raise user_error(message) if message else EmptyUserError()


@special_form(Term.FUNCALL)
def funcall(compiler: Compiler, shape: Shape, path: Frames) -> Node:
    """Call a function (the first argument) with the others; a datum stands for the function that gives it."""
    check_arity(shape, path, 1, None)
    nodes, effects = compile_all(compiler, shape, path)
    is_spliced = spliced(shape)

    def run(frame: Frame) -> Any:
        values = spliced_values(nodes, frame) if is_spliced else [node.run(frame) for node in nodes]
        try:
            func = values[0]
            if type(func) is not Func:
                if not is_datum(func):
                    raise wrong_type("FUNCTION", func)
                func = constant_function(func)
            if len(values) == 1:
                return func.evaluate()
            first = values[1]
            if isinstance(first, Stream) and first.grouping is not None:
                first = first.to_grouped(frame[0])
            rest = [as_datum(value) for value in values[2:]]
            if type(first) is Grouped:
                return Grouped([(group, as_datum(func.evaluate(member, *rest))) for group, member in first.pairs])
            return func.evaluate(as_datum(first), *rest)
        except ReqlError as error:
            if error.frames is None:
                error.frames = path
            raise

    return Node(run, shape, effects, any(node.grouped for node in nodes[:2]))
