"""Control: what is evaluated, when, and what happens when it fails."""

from __future__ import annotations

from typing import Any

from photondb.datum.types import truthy
from photondb.reql.callsite import Run
from photondb.reql.compiler import Compiler, Node
from photondb.reql.effects import Effects
from photondb.reql.errors import (
    CompileError,
    EmptyUserError,
    ErrorKind,
    Frames,
    ReqlError,
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


@special_form(Term.MAKE_ARRAY, "*elements: datum")
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


@special_form(Term.ARGS, "arguments: array")
def args(compiler: Compiler, shape: Shape, path: Frames) -> Node:
    """An array whose elements become arguments of the term around it."""
    literals = compiler.literals
    check_arity(shape, path, 1, 1)
    compiler.check_optargs((), shape[2], path)
    inner = compiler.compile(shape[1][0], (*path, 0), literals and shape[1][0][0] == Term.MAKE_ARRAY)
    check = ARRAY.check((*path, 0))
    assert check is not None
    return Node(lambda frame: check(inner.run(frame)), shape, inner.effects)


def spliced_runs(nodes: list[Node], frame: Frame) -> list[Run]:
    """The closures of the arguments; what `r.args` spreads out has been evaluated."""
    runs: list[Run] = []
    for node in nodes:
        if node.shape[0] == Term.ARGS:
            runs.extend(map(_giver, node.run(frame)))
        else:
            runs.append(node.run)
    return runs


def _giver(value: Any) -> Run:
    return lambda _: value


@special_form(Term.BRANCH, "condition: bool, value: any, [condition: bool, value: any, ...] otherwise: any")
def branch(compiler: Compiler, shape: Shape, path: Frames) -> Node:
    """The value behind the first condition that holds; the last argument when none does."""
    compiler.check_optargs((), shape[2], path)
    nodes, effects = compile_all(compiler, shape, path)
    grouped = any(node.grouped for node in nodes)
    if spliced(shape):
        return Node(lambda frame: _choice(spliced_runs(nodes, frame), path)(frame), shape, effects, grouped)
    check_arity(shape, path, 3, None)
    return Node(_choice([node.run for node in nodes], path), shape, effects, grouped)


def _choice(runs: list[Run], path: Frames) -> Run:
    """The closure that evaluates a branch from those of its arguments."""
    if len(runs) < 3 or len(runs) % 2 == 0:
        return _wrong_branch(len(runs), path)
    conditions = []
    for i in range(0, len(runs) - 1, 2):
        check = BOOLEAN.check((*path, i))
        assert check is not None
        conditions.append((runs[i], check, runs[i + 1]))
    otherwise = runs[-1]

    def run(frame: Frame) -> Any:
        for condition, check, value in conditions:
            if check(condition(frame)):
                return value(frame)
        return otherwise(frame)

    return run


def _wrong_branch(found: int, path: Frames) -> Run:
    if found < 3:
        message = f"Expected {arity_text(3, None)} but found {found}."
    else:
        message = "Cannot call `branch` term with an even number of arguments."

    def run(_: Frame) -> Any:
        raise ReqlError(ErrorKind.LOGIC, message, path)

    return run


def _logical(stop_at: bool) -> Any:
    def form(compiler: Compiler, shape: Shape, path: Frames) -> Node:
        compiler.check_optargs((), shape[2], path)
        nodes, effects = compile_all(compiler, shape, path)
        runs = None if spliced(shape) else [node.run for node in nodes]

        def run(frame: Frame) -> Any:
            value: Any = not stop_at
            for part in spliced_runs(nodes, frame) if runs is None else runs:
                value = part(frame)
                if value is not True and value is not False:
                    value = _truth_kept(value, path)
                    if truthy(value) is stop_at:
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


special_form(
    Term.AND, "*values: datum", doc="The first value that counts as false, which null and false do, or the last one."
)(_logical(stop_at=False))
special_form(
    Term.OR,
    "*values: datum",
    doc="The first value that counts as true, which all but null and false do, or the last one.",
)(_logical(stop_at=True))


@special_form(Term.DEFAULT, "value: any, otherwise: any or function", grouped="whole")
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


@special_form(Term.FUNCALL, "function: function or datum, *arguments: datum", grouped="each")
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
