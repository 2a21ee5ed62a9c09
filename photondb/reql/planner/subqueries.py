"""What a query computes once, and not for every row: parts of its functions that depend on no row.

A sub-query without a variable (`r.table("settings").get(1)["limit"]` in a filter) and a term of constants have the same
value each time. The compiler wraps them, and the first value that they give serves for the rest of the query. They are
not computed before they are needed, so that one which fails does so where, and only if, it did before. Equal parts of
one query share their value. Values of queries that write, or never end, are not kept: what they read may change.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from photondb.reql import shape as shapes
from photondb.reql.callsite import Run
from photondb.reql.effects import Effects
from photondb.reql.function import Frame
from photondb.reql.shape import Shape
from photondb.reql.values import PLAIN_TYPES, SingleSelection
from photondb.reql.wire import Term

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

    def shared(self, shape: Shape, run: Run, effects: Effects) -> Run:
        """The closure of a term within a function, which computes its value once if that is right."""
        if effects & ~_ALLOWED or not shape[1] or self.variables(shape):
            return run
        if effects & Effects.READS and (shape[0] in SEQUENCES or self._reads_catalogue(shape)):
            return run
        self.found = True
        return _once(shape, run)

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


def _once(key: Hashable, run: Run) -> Run:
    def once(frame: Frame) -> Any:
        values: dict[Hashable, Any] | None = frame[0].shared
        if values is None:
            return run(frame)
        value = values.get(place, _MISSING)
        if value is _MISSING:
            key_values = values.setdefault(_BY_SHAPE, {})
            value = key_values.get(key, _MISSING)
            if value is _MISSING:
                value = run(frame)
                if type(value) not in _KEPT_TYPES:
                    return value
                key_values[key] = value
            values[place] = value
        return value

    place = object()
    return once


_BY_SHAPE = "by shape"
