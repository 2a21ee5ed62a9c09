"""What a query computes once, and not for every row: parts of its functions that depend on no row.

A sub-query without a variable (`r.table("settings").get(1)["limit"]` in a filter) and a term of constants have the same
value each time. The compiler wraps them, and the first value that they give serves for the rest of the query. They are
not computed before they are needed, so that one which fails does so where, and only if, it did before. Equal parts of
one query share their value, wherever they stand in it: those that are written in the same way, with equal constants,
and whatever their variables are called. Values of queries that write, or never end, are not kept: what they read may
change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Any, NamedTuple

from photondb.datum.json import dumps_computed
from photondb.reql import shape as shapes
from photondb.reql.callsite import Run
from photondb.reql.effects import Effects
from photondb.reql.function import Frame
from photondb.reql.shape import Shape
from photondb.reql.values import PLAIN_TYPES, SingleSelection
from photondb.reql.wire import Term

MAX_COMPARED_TERMS = 1000
"""In longer queries nothing is looked for outside of functions: each part is compared with all others."""

MAX_TERMS = 10_000
"""In longer queries nothing more is looked for: to find out what is the same takes time, too."""

_ALLOWED = Effects.READS | Effects.NOW | Effects.ROUNDED
_KEPT_TYPES = PLAIN_TYPES | {SingleSelection}
_MISSING: Any = object()

SEQUENCES = frozenset(
    {
        *(Term.TABLE, Term.DB, Term.GET_ALL, Term.BETWEEN, Term.BETWEEN_DEPRECATED, Term.FILTER, Term.MAP, Term.LIMIT),
        *(Term.CONCAT_MAP, Term.PLUCK, Term.WITHOUT, Term.MERGE, Term.HAS_FIELDS, Term.WITH_FIELDS, Term.ORDER_BY),
        *(Term.SKIP, Term.SLICE, Term.ZIP, Term.UNION, Term.GROUP),
    }
)
"""Terms that, of a table, make a sequence that has not been read yet, and so is no value to keep."""

_CATALOGUE_TERMS = frozenset(
    {
        *(Term.DB_LIST, Term.TABLE_LIST, Term.INDEX_LIST, Term.INDEX_STATUS, Term.INDEX_WAIT, Term.CONFIG, Term.INFO),
        *(Term.STATUS, Term.WAIT, Term.GET_WRITE_HOOK),
    }
)
"""Terms that read something else than documents."""


class Sharing:
    """Finds the parts of one query that need to be computed only once, while it is compiled."""

    def __init__(self) -> None:
        self.found = False
        """Whether there is any."""
        self._variables: dict[int, tuple[Shape, frozenset[int]]] = {}
        self._tags: dict[int, tuple[Shape, bool]] = {}
        self._written: dict[int, tuple[Shape, _Written]] = {}
        self._places: Counter[Shape] = Counter()
        """How often each part that is computed once stands in the query, by how it is written."""
        self._repeated: frozenset[Shape] = frozenset()
        """The parts outside of functions that read and stand in the query more than once."""

    def look_at(self, query: Shape) -> None:
        """Find what stands in a query more than once, before it is compiled."""
        counts: Counter[Shape] = Counter()
        found, waiting = 0, [query]
        tables = 0
        while waiting:
            shape = waiting.pop()
            found += 1
            if found > MAX_COMPARED_TERMS:
                return
            tables += shape[0] == Term.TABLE
            waiting += _children(shape)
        if tables < 2:
            return
        waiting = [query]
        while waiting:
            shape = waiting.pop()
            if self._reads_once(shape) and not self.variables(shape):
                counts[self.written(shape).shape] += 1
            waiting += _children(shape)
        self._repeated = frozenset(shape for shape, count in counts.items() if count > 1)

    def _reads_once(self, shape: Shape) -> bool:
        """Whether a term reads documents and makes a value of them."""
        if shape[0] <= 0 or shape[0] == Term.FUNC or shape[0] in SEQUENCES or not _has_table(shape):
            return False
        return not self._reads_catalogue(shape)

    def shared(self, shape: Shape, run: Run, effects: Effects, in_function: bool) -> Run:
        """The closure of a term, which computes its value once if that is right and helps: within a function, or where
        the term stands in the query more than once."""
        if not in_function and not self._repeated:
            return run
        if effects & ~_ALLOWED or not shape[1] or self.variables(shape):
            return run
        if effects & Effects.READS and (shape[0] in SEQUENCES or self._reads_catalogue(shape)):
            return run
        written = self.written(shape)
        if not in_function and written.shape not in self._repeated:
            return run
        self.found = True
        self._places[written.shape] += 1
        return _once(written, run, self._places)

    @property
    def repeated(self) -> Repeated:
        """What has been found to stand in the query more than once, outside of functions."""
        return Repeated(self, self._repeated & {shape for shape, count in self._places.items() if count > 1})

    def written(self, shape: Shape) -> _Written:
        """How a part without free variables is written."""
        known = self._written.get(id(shape))
        if known is None:
            known = self._written[id(shape)] = (shape, _written(shape))
        return known[1]

    def variables(self, shape: Shape) -> frozenset[int]:
        """The variables that a shape uses and does not bind itself."""
        known = self._variables.get(id(shape))
        if known is not None:
            return known[1]
        tag = shape[0]
        if tag == shapes.VAR:
            found = frozenset({shape[1]})
        elif tag == Term.FUNC:
            found = self.variables(shape[2]) - set(shape[1])
        else:
            found = frozenset().union(*map(self.variables, _children(shape)))
        self._variables[id(shape)] = (shape, found)  # which keeps the shape, so that its id is no other's
        return found

    def _reads_catalogue(self, shape: Shape) -> bool:
        known = self._tags.get(id(shape))
        if known is None:
            found = shape[0] in _CATALOGUE_TERMS or any(map(self._reads_catalogue, _children(shape)))
            known = self._tags[id(shape)] = (shape, found)
        return known[1]


def _children(shape: Shape) -> list[Shape]:
    tag = shape[0]
    if tag == shapes.OBJECT:
        return [value for _, value in shape[1]]
    if tag < 0:
        return []
    if tag == Term.FUNC:
        return [shape[2]]
    return [*shape[1], *(value for _, value in shape[2])]


class Repeated:
    """The parts of a query that stand in it more than once, and are computed once where their constants are equal."""

    def __init__(self, sharing: Sharing, written: frozenset[Shape]) -> None:
        self._sharing = sharing
        self._written = written

    def key(self, shape: Shape, frame: Frame) -> Hashable | None:
        """What a part has in common with those that are equal to it, with the constants in a frame; None for one that
        stands in the query once."""
        if not self._written or shape[0] <= 0 or self._sharing.variables(shape):
            return None
        written = self._sharing.written(shape)
        return written.key(frame) if written.shape in self._written else None


class _Written(NamedTuple):
    """A part of a query with its variables and constants numbered as they appear in it, and which constants they are of
    the query."""

    shape: Shape
    constants: tuple[int, ...]

    def key(self, frame: Frame) -> Hashable:
        """What tells it from others that are written in the same way, with the constants of one run of the query."""
        return self.shape, tuple(dumps_computed(frame[1 + number]) for number in self.constants)


def _written(shape: Shape) -> _Written:
    variables: dict[int, int] = {}
    constants: list[int] = []

    def renumbered(shape: Shape) -> Shape:
        tag = shape[0]
        if tag == shapes.VAR:
            return (tag, variables[shape[1]])
        if tag in (shapes.CONSTANT, shapes.NOW):
            constants.append(shape[1])
            return (tag, len(constants))
        if tag == shapes.OBJECT:
            return (tag, tuple((name, renumbered(value)) for name, value in shape[1]))
        if tag < 0:
            return shape
        if tag == Term.FUNC:
            for variable in shape[1]:
                variables[variable] = len(variables)
            return (tag, len(shape[1]), renumbered(shape[2]))
        return (
            tag,
            tuple(map(renumbered, shape[1])),
            tuple((name, renumbered(value)) for name, value in shape[2]),
        )

    return _Written(renumbered(shape), tuple(constants))


def _has_table(shape: Shape) -> bool:
    return bool(shape[0] == Term.TABLE) or any(map(_has_table, _children(shape)))


def _once(written: _Written, run: Run, places: Counter[Shape]) -> Run:
    def once(frame: Frame) -> Any:
        values: dict[Hashable, Any] | None = frame[0].shared
        if values is None:
            return run(frame)
        value = values.get(place, _MISSING)
        if value is not _MISSING:
            return value
        key = written.key(frame) if places[written.shape] > 1 else place
        value = values.get(key, _MISSING)
        if value is _MISSING:
            value = run(frame)
            if type(value) not in _KEPT_TYPES:
                return value
            values[key] = value
        values[place] = value
        return value

    place = object()
    return once
