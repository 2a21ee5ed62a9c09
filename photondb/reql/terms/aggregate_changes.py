"""`changes` of what a selection adds up to: `table.count().changes()`, `table.group("a").sum("b").changes()`.

`count`, `sum` and `avg` give numbers, of which there are no changes. So `changes` looks, when it is compiled, whether
its argument is a call of one of them, and then takes the place of both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from photondb.reql.accumulators import Aggregate
from photondb.reql.aggregates import Avg, Count, Sum
from photondb.reql.calls import compile_call
from photondb.reql.effects import Effects
from photondb.reql.errors import Frames, logic_error
from photondb.reql.feed_streams import FeedSource
from photondb.reql.grouping import Group
from photondb.reql.parameters import Datum, FieldOrFunction, Func, Runtime, Value, equality_function
from photondb.reql.registry import Definition, special_form
from photondb.reql.shape import Shape
from photondb.reql.steps import FilterStep
from photondb.reql.stream import Stream
from photondb.reql.system_tables import is_system
from photondb.reql.terms.changes import EAGER, changes, check_request, check_squash, watched_stream
from photondb.reql.values import SingleSelection, as_datum, as_sequence
from photondb.reql.wire import ResponseNote, Term

if TYPE_CHECKING:
    from photondb.reql.compiler import Compiler, Node


def count_changes(
    runtime: Runtime,
    value: Value,
    what: Value = ...,
    *,
    squash: Datum = False,
    include_initial: bool = False,
    include_states: bool = False,
    include_types: bool = False,
) -> Stream:
    """The changes of a count, as objects with `old_val` and `new_val`; by group with `group`, too."""
    stream = _stream(value)
    if what is not ...:
        predicate = what if type(what) is Func else equality_function(as_datum(what))
        stream = stream.with_step(FilterStep(predicate))
    return _open(runtime, stream, Count(), squash, include_initial, include_states, include_types)


def sum_changes(
    runtime: Runtime,
    value: Value,
    func: FieldOrFunction | None = None,
    *,
    squash: Datum = False,
    include_initial: bool = False,
    include_states: bool = False,
    include_types: bool = False,
) -> Stream:
    """The changes of a sum."""
    return _open(runtime, _stream(value), Sum(func), squash, include_initial, include_states, include_types)


def avg_changes(
    runtime: Runtime,
    value: Value,
    func: FieldOrFunction | None = None,
    *,
    squash: Datum = False,
    include_initial: bool = False,
    include_states: bool = False,
    include_types: bool = False,
) -> Stream:
    """The changes of an average; it is null while there is nothing to take the average of."""
    return _open(runtime, _stream(value), Avg(func), squash, include_initial, include_states, include_types)


def _stream(value: Any) -> Stream:
    sequence = None if isinstance(value, SingleSelection) else as_sequence(value)
    if not isinstance(sequence, Stream):
        raise logic_error(EAGER)
    return sequence


def _open(
    runtime: Runtime,
    stream: Stream,
    aggregate: Aggregate,
    squash: Any,
    include_initial: bool,
    include_states: bool,
    include_types: bool,
) -> Stream:
    check_squash(squash)
    if stream.grouping is not None:
        aggregate = Group(stream.grouping, aggregate, runtime.array_limit, stream.group_steps)
    if not aggregate.pushable:
        raise logic_error("Cannot call `changes` after a non-deterministic function.")
    watched = watched_stream(runtime, Stream(stream.source, steps=stream.steps))
    if len(watched) != 1:
        raise logic_error("Cannot call `changes` on an aggregate of several selections.")
    ((info, request),) = watched
    if request.limit is not None:
        raise logic_error("Cannot call `changes` on an aggregate of the first rows of an order.")
    if is_system(info):
        raise logic_error("Cannot call `changes` on an aggregate of a system table.")
    check_request(runtime, request, include_offsets=False, positions=False)
    request.aggregate = aggregate
    request.squash = squash
    request.include_initial = include_initial
    request.include_states = include_states
    request.include_types = include_types
    notes = {ResponseNote.SEQUENCE_FEED, *([ResponseNote.INCLUDES_STATES] if include_states else [])}
    return Stream(FeedSource(runtime.open_feed(info, request)), infinite=True, feed=frozenset(notes))


def _definition(function: Callable[..., Stream]) -> Definition:
    effects = Effects.READS | Effects.ENDLESS
    return Definition(Term.CHANGES, function, effects, "stream", "", frozenset(), False, False, None)


_PLAIN = _definition(changes)
_OF_AGGREGATE = {
    Term.COUNT: _definition(count_changes),
    Term.SUM: _definition(sum_changes),
    Term.AVG: _definition(avg_changes),
}


@special_form(
    Term.CHANGES,
    _PLAIN.parameters_text,
    _PLAIN.optargs_text,
    grouped=_PLAIN.grouped,
    effects=Effects.READS | Effects.ENDLESS,
    doc=_PLAIN.doc,
)
def compile_changes(compiler: Compiler, shape: Shape, path: Frames) -> Node:
    """`changes`, also of an aggregate: a call of this one with the arguments of both."""
    from photondb.reql.compiler import Node

    tag, args, optargs = shape
    definition, called, at = _PLAIN, shape, path
    if len(args) == 1:
        of_aggregate = _OF_AGGREGATE.get(args[0][0])
        if of_aggregate is not None and not args[0][2]:
            definition, called, at = of_aggregate, (tag, args[0][1], optargs), (*path, 0)
    run, effects, grouped = compile_call(compiler, definition, called, at)
    return Node(run, shape, effects, grouped)
