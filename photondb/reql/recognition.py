"""Recognises queries that are like an earlier one but for their constants, without taking them apart.

    [53, [[16, [[15, ["users"]], "ada"]], {"age": 36}]]     update of a document
    [53, [[16, [[15, ["users"]], HOLE]], HOLE]]             what such queries look like

A template is a wire term with holes in the place of the constants that its shape lifts out. Whether a query looks like
that is one comparison of lists, which Python makes in C, and takes a tenth of what it takes to find the shape.
"""

from __future__ import annotations

from typing import Any

from photondb.datum.errors import DatumError
from photondb.reql import shape as shapes
from photondb.reql.errors import CompileError, ReqlError
from photondb.reql.shape import MAX_EXACT_INTEGER, Shape, Shaper, keeps_strings
from photondb.reql.wire import Term

Path = tuple[int, ...]


class _Hole:
    """Looks like anything."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


_HOLE = _Hole()


class _Unsuited(Exception):
    """Queries of this shape cannot be recognised by a template."""


class Recogniser:
    """Recognises the queries of one shape that are written in one way."""

    __slots__ = ("_paths", "_template")

    def __init__(self, template: list[Any], paths: list[Path]) -> None:
        self._template = template
        self._paths = paths
        """Where each of the constants is in the term: an index for each level."""

    @classmethod
    def of(cls, term: Any, shape: Shape) -> Recogniser | None:
        """What recognises the queries that are like `term`, whose shape was found; None where that cannot be seen from
        the term alone. Functions cannot be recognised, because drivers number their variables without end."""
        if shape[0] < 0:  # a constant, which looks like anything
            return None
        paths: dict[int, Path] = {}
        try:
            template = _template(term, shape, (), paths)
        except _Unsuited:
            return None
        return cls(template, [paths[number] for number in range(len(paths))])

    def constants(self, term: list[Any]) -> list[Any] | None:
        """The constants of a query, as its shape would have lifted them out; None when it is not one of these, or when
        something is wrong with it, which who takes it apart can say better."""
        if term != self._template:
            return None
        constants: list[Any] = []
        for path in self._paths:
            value: Any = term
            for index in path:
                value = value[index]
            kind = type(value)
            if kind is not str and (kind is not int or not -MAX_EXACT_INTEGER <= value <= MAX_EXACT_INTEGER):
                shaper = Shaper(None)
                try:
                    if shaper.shape(value)[0] != shapes.CONSTANT:
                        return None
                except (CompileError, ReqlError, DatumError):
                    return None
                (value,) = shaper.constants
            constants.append(value)
        return constants


def _template(term: Any, shape: Shape, path: Path, paths: dict[int, Path]) -> Any:
    """What terms look like that differ from `term` in constants only. Their places are put into `paths`."""
    tag = shape[0]
    if tag == shapes.CONSTANT:
        paths[shape[1]] = path
        return _HOLE
    if tag == shapes.LITERAL:
        return term
    if tag < 0 or tag == Term.FUNC or type(term) is not list or len(term) < 2 or type(term[1]) is not list:
        raise _Unsuited
    # Where names belong to the shape another string would be another shape, and a number is none.
    if keeps_strings(tag) and any(argument[0] == shapes.CONSTANT for argument in shape[1]):
        raise _Unsuited
    arguments = [
        _template(argument, of_argument, (*path, 1, number), paths)
        for number, (argument, of_argument) in enumerate(zip(term[1], shape[1], strict=True))
    ]
    if len(term) == 2:
        return [term[0], arguments]
    if not all(type(value) is str for value in term[2].values()):  # to Python, True is 1
        raise _Unsuited
    return [term[0], arguments, dict(term[2])]
