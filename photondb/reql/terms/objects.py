"""Objects: making them, choosing among their fields, merging them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from photondb.datum.errors import DatumError
from photondb.datum.merge import merge as merge_values
from photondb.datum.text import print_datum, truncated_print
from photondb.datum.types import type_name
from photondb.datum.validation import check_pseudotype
from photondb.reql import shape as shapes
from photondb.reql.callsite import Run
from photondb.reql.compiler import Compiler, Node
from photondb.reql.errors import ErrorKind, Frames, ReqlError, logic_error
from photondb.reql.function import Frame, Func
from photondb.reql.parameters import Datum, Runtime, Value, as_string
from photondb.reql.pathspec import drop, has, paths_of, pick
from photondb.reql.registry import FastPath, special_form, term
from photondb.reql.shape import Shape
from photondb.reql.terms.control import check_arity, compile_all, spliced_values
from photondb.reql.values import Grouped, as_datum, check_array_size, value_type, wrong_type
from photondb.reql.wire import Term

_LITERAL = "LITERAL"
STRAY_LITERAL = (
    "Stray literal keyword found: literal is only legal inside of the object passed to merge or update and "
    "cannot nest inside other literals."
)


@term(Term.OBJECT)
def object_(*pairs: Datum) -> dict[str, Any]:
    """The object of names and values, taken in turn."""
    if len(pairs) % 2:
        raise logic_error(f"OBJECT expects an even number of arguments (but found {len(pairs)}).")
    made: dict[str, Any] = {}
    for name, value in zip(pairs[::2], pairs[1::2], strict=True):
        name = as_string(name)
        if name in made:
            raise logic_error(
                f"Duplicate key {print_datum(name)} in object.  "
                f"(got {truncated_print(made[name])} and {truncated_print(value)} as values)"
            )
        made[name] = value
    return check_pseudotype(made) if "$reql_type$" in made else made


@term(Term.KEYS)
def keys(runtime: Runtime, value: Datum) -> list[str]:
    """The names of an object's fields, in order."""
    names = sorted(_plain_object("keys", value))
    check_array_size(len(names), runtime.array_limit)
    return names


@term(Term.VALUES)
def values(runtime: Runtime, value: Datum) -> list[Any]:
    """The values of an object's fields, in the order of the names."""
    fields = _plain_object("values", value)
    check_array_size(len(fields), runtime.array_limit)
    return [fields[name] for name in sorted(fields)]


def _plain_object(name: str, value: Any) -> dict[str, Any]:
    if type(value) is dict and "$reql_type$" not in value:
        return value
    raise logic_error(f"Cannot call `{name}` on objects of type `{type_name(value)}`.").blame(0)


def _on_names(make: Callable[[tuple[str, ...]], Callable[[dict[str, Any]], Any]]) -> FastPath:
    """Closures for a term on objects whose other arguments are all names of fields that stand in the query; `make`
    makes a function of an object from the names."""

    def fast(shape: Shape, args: list[Run], general: Callable[..., Any]) -> Run | None:
        if not all(arg[0] == shapes.LITERAL for arg in shape[1][1:]):
            return None
        function = make(tuple(dict.fromkeys(arg[1] for arg in shape[1][1:])))
        subject = args[0]

        def run(frame: Frame) -> Any:
            value = subject(frame)
            if type(value) is dict and "$reql_type$" not in value:
                return function(value)
            return general(frame, value)

        return run

    return fast


def _pick_names(names: tuple[str, ...]) -> Callable[[dict[str, Any]], Any]:
    return lambda value: {name: value[name] for name in names if name in value}


def _drop_names(names: tuple[str, ...]) -> Callable[[dict[str, Any]], Any]:
    def without_names(value: dict[str, Any]) -> dict[str, Any]:
        kept = value.copy()
        for name in names:
            kept.pop(name, None)
        return kept

    return without_names


def _has_names(names: tuple[str, ...]) -> Callable[[dict[str, Any]], Any]:
    def has_names(value: dict[str, Any]) -> bool:
        for name in names:  # noqa: SIM110  # a loop is faster here than all() of a generator
            if value.get(name) is None:
                return False
        return True

    return has_names


@term(Term.PLUCK, over_sequences="map", fast=_on_names(_pick_names))
def pluck(value: Datum, *paths: Datum) -> dict[str, Any]:
    """The object with nothing but the fields that are named."""
    return pick(value, paths_of(paths))


@term(Term.WITHOUT, over_sequences="map", fast=_on_names(_drop_names))
def without(value: Datum, *paths: Datum) -> dict[str, Any]:
    """The object without the fields that are named."""
    return drop(value, paths_of(paths))


@term(Term.HAS_FIELDS, over_sequences="filter", fast=_on_names(_has_names))
def has_fields(value: Datum, *paths: Datum) -> bool:
    """Whether the object has all the fields that are named, and none of them is null."""
    return has(value, paths_of(paths))


@special_form(Term.WITH_FIELDS, "sequence: sequence, *paths: datum", grouped="each")
def with_fields(compiler: Compiler, shape: Shape, path: Frames) -> Node:
    """The objects of a sequence that have all the fields that are named, with nothing but those. As in RethinkDB it is
    `has_fields` and then `pluck`, so that a single object gets the errors of these."""
    check_arity(shape, path, 1, None)
    compiler.check_optargs((), shape[2], path)
    names, once = _evaluated_once(compiler, shape[1][1:], path)
    having = compiler.compile((int(Term.HAS_FIELDS), (shape[1][0], *names), ()), path)
    number = compiler.new_variable()
    slot = compiler.variable_base + number
    picked = compiler.compile((int(Term.PLUCK), ((shapes.VAR, number), *names), ()), path)
    effects = having.effects | picked.effects
    for _, node in once:
        effects |= node.effects

    def run(frame: Frame) -> Any:
        for name_slot, node in once:
            frame[name_slot] = node.run(frame)

        def pick_from(value: Any) -> Any:
            frame[slot] = value
            return picked.run(frame)

        value = having.run(frame)
        if type(value) is Grouped:
            return Grouped([(group, pick_from(member)) for group, member in value.pairs])
        return pick_from(value)

    return Node(run, shape, effects, having.grouped)


def _evaluated_once(
    compiler: Compiler, args: Sequence[Shape], path: Frames
) -> tuple[list[Shape], list[tuple[int, Node]]]:
    """Arguments after the first as they can stand in several terms: names as they are, of others variables, which get
    the values of these nodes."""
    shown: list[Shape] = []
    once: list[tuple[int, Node]] = []
    for position, arg in enumerate(args, 1):
        if arg[0] == shapes.LITERAL:
            shown.append(arg)
            continue
        number = compiler.new_variable()
        frames: Frames = (*path, position)
        value: Shape = (shapes.VAR, number)
        if arg[0] == Term.ARGS and len(arg[1]) == 1:
            arg, frames, value = arg[1][0], (*frames, 0), (arg[0], (value,), arg[2])
        once.append((compiler.variable_base + number, compiler.compile(arg, frames)))
        shown.append(value)
    return shown, once


def _merge_one(shape: Shape, args: list[Run], general: Callable[..., Any]) -> Run | None:
    """The closure that merges one object, or what one function gives, into an object."""
    if len(args) != 2:
        return None
    subject, other = args

    def run(frame: Frame) -> Any:
        value = subject(frame)
        if type(value) is dict and "$reql_type$" not in value:
            patch = other(frame)
            if type(patch) is Func:
                patch = patch.call(value)
            if type(patch) is dict and "$reql_type$" not in patch:
                try:
                    return merge_values(value, patch)
                except DatumError:
                    pass  # the general call says what is wrong
        return general(frame, value)

    return run


@term(Term.MERGE, over_sequences="map", literals=True, fast=_merge_one)
def merge(value: Datum, *others: Value) -> Any:
    """The object with others merged into it, one after the other, or what functions of it give."""
    for position, other in enumerate(others, 1):
        patch = other.call(value) if type(other) is Func else _patch(other, position)
        if type(patch) is dict and patch.get("$reql_type$", _LITERAL) != _LITERAL:
            raise logic_error(f"Cannot merge objects of type `{type_name(patch)}`.").blame(position)
        value = merge_values(value, patch)
    return value


def _patch(value: Any, position: int) -> Any:
    if value_type(value) in ("DATUM", "SINGLE_SELECTION"):
        return as_datum(value)
    raise wrong_type("FUNCTION", value).blame(position)


@special_form(Term.LITERAL, "[value: datum]")
def literal(compiler: Compiler, shape: Shape, path: Frames) -> Node:
    """A value that replaces what it is merged into instead of being merged; without an argument, nothing."""
    allowed = compiler.literals
    check_arity(shape, path, 0, 1)
    compiler.check_optargs((), shape[2], path)
    nodes, effects = compile_all(compiler, shape, path)

    def run(frame: Frame) -> dict[str, Any]:
        if not allowed:
            raise ReqlError(ErrorKind.LOGIC, STRAY_LITERAL, path)
        made: dict[str, Any] = {"$reql_type$": _LITERAL}
        for value in spliced_values(nodes, frame):
            made["value"] = as_datum(value)
        return made

    return Node(run, shape, effects)
