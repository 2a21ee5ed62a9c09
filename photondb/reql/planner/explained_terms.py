"""What kind of term a part of a query is, for the explanation of queries."""

from __future__ import annotations

from collections.abc import Sequence

from photondb.reql import shape as shapes
from photondb.reql.shape import Shape
from photondb.reql.wire import Term

SEQUENCES = frozenset(
    {
        *(Term.TABLE, Term.GET, Term.GET_ALL, Term.BETWEEN, Term.BETWEEN_DEPRECATED, Term.FILTER, Term.MAP),
        *(Term.CONCAT_MAP, Term.PLUCK, Term.WITHOUT, Term.MERGE, Term.HAS_FIELDS, Term.WITH_FIELDS, Term.GET_FIELD),
        *(Term.ORDER_BY, Term.LIMIT, Term.SKIP, Term.SLICE, Term.ZIP, Term.UNION, Term.GROUP),
    }
)
"""Terms that make a sequence without reading any."""

AGGREGATES = frozenset(
    {Term.COUNT, Term.SUM, Term.AVG, Term.MIN, Term.MAX, Term.REDUCE, Term.DISTINCT, Term.IS_EMPTY, Term.CONTAINS}
)

JOINS = frozenset({Term.EQ_JOIN, Term.INNER_JOIN, Term.OUTER_JOIN})

ONE_ROW = frozenset({*AGGREGATES, Term.NTH, Term.FOLD}) - {Term.DISTINCT}


def name_of(shape: Shape) -> str:
    """What a term is called."""
    if shape[0] == shapes.OBJECT:
        return "object"
    return Term(shape[0]).name.lower() if shape[0] > 0 else "value"


def is_sequence(shape: Shape) -> bool:
    """Whether a term makes a sequence from a table, or chooses a document, without reading anything else."""
    while shape[0] in SEQUENCES or shape[0] in JOINS or takes_field(shape):
        if shape[0] in (Term.TABLE, Term.GET, Term.GET_ALL, Term.BETWEEN) and not any(map(reads, shape[1][1:])):
            return True
        sequences = shape[1] if shape[0] == Term.UNION else shape[1][:1]
        others = () if shape[0] == Term.UNION else shape[1][1:]
        if shape[0] in JOINS and len(shape[1]) == 3:
            constant = shape[1][1][0] == shapes.CONSTANT
            sequences = shape[1][::2] if shape[0] == Term.EQ_JOIN else shape[1][: 1 if constant else 2]
            others = ()
        if not sequences or any(reads(arg) for arg in others if arg[0] != Term.FUNC):
            return False
        if len(sequences) > 1 and not all(map(is_sequence, sequences[1:])):
            return False
        shape = sequences[0]
    return False


def takes_field(shape: Shape) -> bool:
    """Whether a term takes a field of each row of a sequence, and not one of its rows."""
    return bool(shape[0] == Term.BRACKET and shape[1][1][0] == shapes.LITERAL)


def reads(shape: Shape) -> bool:
    """Whether there is a table in a shape."""
    if shape[0] == Term.TABLE:
        return True
    return any(map(reads, arguments(shape)))


def arguments(shape: Shape) -> Sequence[Shape]:
    """The terms that a term is made of."""
    if shape[0] == shapes.OBJECT:
        return [value for _, value in shape[1]]
    if shape[0] < 0:
        return ()
    if shape[0] == Term.FUNC:
        return (shape[2],)
    return [*shape[1], *(value for _, value in shape[2])]
