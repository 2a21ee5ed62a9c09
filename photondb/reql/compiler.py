"""The compiler: from the shape of a query to closures that evaluate it.

Every term becomes a closure over the closures of its arguments, which takes the frame (the runtime, the constants and
the variables) and gives a value. What is known before the query runs is settled here: arity, names of optional
arguments, where functions capture variables, which fields they look at, whether they may run in storage.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

from photondb.datum.errors import DatumError
from photondb.datum.validation import check_pseudotype as checked_pseudotype
from photondb.reql import shape as shapes
from photondb.reql.calls import compile_call
from photondb.reql.callsite import Run
from photondb.reql.compiled import CHARACTERS_PER_TERM, CompiledCache
from photondb.reql.effects import Effects
from photondb.reql.errors import CompileError, Frames, ReqlError
from photondb.reql.function import Frame, Func, FunctionCode
from photondb.reql.function_runtime import NO_QUERY, FunctionRuntime
from photondb.reql.parameters import reql_error
from photondb.reql.planner.subqueries import MAX_TERMS as MAX_SHARED_TERMS
from photondb.reql.planner.subqueries import Sharing
from photondb.reql.profile import profiled
from photondb.reql.registry import SPECIAL_FORMS, TERMS, arity_text
from photondb.reql.shape import Shape, Shaper
from photondb.reql.values import as_datum
from photondb.reql.wire import Term

UNOPTIMIZED = "optimizations"
"""The run option that has everything done the plainest way that there is."""

PROFILE = "profile"
"""The run option that has every term measured."""


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
    """Compiles one query. `options` are the names of its run options, which stand in for optional arguments.

    `literals` tells a special form that begins to compile itself whether `r.literal` may stand in its place. `pause` is
    called for every term, so that others can get their turn.
    """

    def __init__(
        self,
        constants: int,
        variables: int,
        options: frozenset[str] = frozenset(),
        pause: Callable[[], None] | None = None,
    ) -> None:
        self.variable_base = 1 + constants
        self.variables = variables
        self.options = options
        self.literals = False
        self.pause = pause
        self.terms = 0
        self.sharing = None if UNOPTIMIZED in options else Sharing()
        self._functions = 0
        """How many functions are around what is being compiled."""
        self.tags: set[int] = set()
        """Which terms the query has."""
        self.name_characters = 0

    @property
    def weight(self) -> int:
        """How large what was compiled is, in terms."""
        return self.terms + self.name_characters // CHARACTERS_PER_TERM

    @property
    def frame_size(self) -> int:
        """How many slots a frame of the query needs."""
        return self.variable_base + self.variables

    def new_variable(self) -> int:
        """The number of a variable that the query itself does not have."""
        self.variables += 1
        return self.variables - 1

    def compile(self, shape: Shape, path: Frames, literals: bool = False) -> Node:
        """Compile the term at `path`, where `r.literal` may stand or not. Raises CompileError."""
        node = self._compile(shape, path, literals)
        if PROFILE in self.options and shape[0] > 0 and shape[0] != Term.FUNC:
            node.run = profiled(Term(shape[0]).name.lower(), node.run)
        sharing = self.sharing
        if sharing and shape[0] > 0 and shape[0] != Term.FUNC and self.terms <= MAX_SHARED_TERMS:
            node.run = sharing.shared(shape, node.run, node.effects, self._functions > 0)
        return node

    def _compile(self, shape: Shape, path: Frames, literals: bool) -> Node:
        self.literals = literals
        self.terms += 1
        if self.pause is not None:
            self.pause()
        tag = shape[0]
        self.tags.add(tag)
        if tag == shapes.CONSTANT:
            return Node(operator.itemgetter(1 + shape[1]), shape)
        if tag == shapes.NOW:
            return Node(operator.itemgetter(1 + shape[1]), shape, Effects.NOW)
        if tag == shapes.VAR:
            return Node(operator.itemgetter(self.variable_base + shape[1]), shape)
        if tag == shapes.LITERAL:
            value = shape[1]
            self.name_characters += len(value)
            return Node(lambda _: value, shape)
        if tag == shapes.LITERAL_SCALAR:
            value = shape[2]
            return Node(lambda _: value, shape)
        if tag == shapes.OBJECT:
            return self._object(shape, path, literals)
        if tag == Term.FUNC:
            return self.function(shape, (*path, 1), literals)
        special = SPECIAL_FORMS.get(tag)
        if special is not None:
            return special.compile(self, shape, path)
        definition = TERMS.get(tag)
        if definition is None:
            raise CompileError(f"{Term(tag).name} is not supported yet.", path)
        run, effects, grouped = compile_call(self, definition, shape, path)
        return Node(run, shape, effects, grouped)

    # --- objects and functions

    def _object(self, shape: Shape, path: Frames, literals: bool) -> Node:
        effects = Effects.NONE
        pairs: list[tuple[str, Run]] = []
        for key, value in shape[1]:
            self.name_characters += len(key)
            node = self.compile(value, (*path, key), literals and value[0] != Term.MAKE_ARRAY)
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

    def function(self, shape: Shape, body_path: Frames, literals: bool = False) -> Node:
        """Compile a FUNC shape, with a body that stands at `body_path`; its value is a Func."""
        self._functions += 1
        body = self.compile(shape[2], body_path, literals)
        self._functions -= 1
        made = self.function_of(shape, body.run, body.effects, body_path, literals)
        made.grouped = body.grouped
        return made

    def function_of(self, shape: Shape, body: Run, effects: Effects, body_path: Frames, literals: bool = False) -> Node:
        """The same for a body that has been compiled already."""
        parameters, body_shape = shape[1], shape[2]
        code = FunctionCode(
            slots=tuple(self.variable_base + number for number in parameters),
            body=body,
            shape=shape,
            variable_base=self.variable_base,
            captures=frozenset(free_variables(shape)),
            effects=effects,
            fields=fields_of(body_shape, parameters[0]) if parameters else frozenset(),
            object_body=body_shape[0] in (shapes.OBJECT, shapes.CONSTANT),
            path=body_path,
            literals=literals,
        )
        return Node(lambda frame: Func(code, frame), shape, effects)

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
            if name not in known and not (no_recurse and name == shapes.NO_RECURSE):
                raise CompileError(f"Unrecognized optional argument `{name}`.", (*path, name))


def check_pseudotype(value: dict[str, Any], path: Frames) -> Any:
    """An object with a `$reql_type$`, checked and in its canonical form."""
    try:
        return checked_pseudotype(value)
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


_functions: CompiledCache[tuple[Callable[[Frame], Func], int]] = CompiledCache()


def _function_of_shape(
    shape: Shape, constants: int, variables: int, body_path: Frames, literals: bool
) -> tuple[Callable[[Frame], Func], int]:
    key = (shape, constants, variables, body_path, literals)
    compiled = _functions.get(key)
    if compiled is None:
        compiler = Compiler(constants, variables)
        node = compiler.function(shape, body_path, literals)
        compiled = node.run, compiler.frame_size
        _functions.keep(key, compiled, compiler.weight)
    return compiled


def compile_function(term: list[Any]) -> Func:
    """The function of a FUNC term that captures nothing, by way of a cache of shapes. Raises CompileError.

    A third element is what `Func.to_wire` adds: {"frames": [...], "literals": ..., "array_limit": ...}.
    """
    about = term[2] if len(term) == 3 else {}
    literals = about.get("literals", False)
    shaper = Shaper(now=None, literals=literals)
    shape = shaper.shape(term[:2])
    body_path = tuple(about.get("frames", (1,)))
    make, size = _function_of_shape(shape, len(shaper.constants), shaper.variables, body_path, literals)
    limit = about.get("array_limit")
    frame: Frame = [NO_QUERY if limit is None else FunctionRuntime(limit), *shaper.constants]
    frame.extend([None] * (size - len(frame)))
    return make(frame)


__all__ = [
    "Compiler",
    "Node",
    "arity_text",
    "check_pseudotype",
    "compile_function",
    "fields_of",
    "free_variables",
]
