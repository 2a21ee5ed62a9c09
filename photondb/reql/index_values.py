"""What a document is indexed by: as values, for terms that work on an index and not only through it, and as keys, with
those of documents that a complete index lists apart.

A secondary index leaves out the documents whose value cannot be a key, as in RethinkDB. A filter may match such a
document, or fail on it, all the same. So that an index can answer filters, a complete one lists these documents, too:
behind all values, where no range of values gets to.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

from photondb.api.catalogue import IndexInfo
from photondb.datum.errors import DatumError
from photondb.datum.keys import secondary_key
from photondb.datum.types import reql_type
from photondb.geo.geojson import TYPE as GEOMETRY
from photondb.geo.shapes import shape_of
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.reql.function import Func
from photondb.reql.uninterrupted import WORK


class Apart(bytes, enum.Enum):
    """Why a document is listed apart in a complete index, as the beginning of its entry's key.

    Filters leave out documents without a value at all (the function raises a non-existence error), but an order begins
    with them, and a join fails on them: indexes that are not `multi` list them, too.
    """

    ARRAY = b"\xffA"
    """Its value is an array with something in it that cannot be a key."""
    FAILED = b"\xffE"
    """The function fails."""
    LACKING = b"\xffL"
    """It has no value."""
    NULL = b"\xffN"
    OBJECT = b"\xffO"
    """Its value is an object or geometry."""
    SINGLE = b"\xffS"
    """In a multi index: its value is no array."""


_MISSING = object()


class IndexValues:
    """The function of an index. With `multi` each element of an array that it gives is a value of its own."""

    __slots__ = ("func", "multi")

    def __init__(self, func: Func, multi: bool) -> None:
        self.func = func
        self.multi = multi

    @classmethod
    def of_index(cls, index: IndexInfo) -> IndexValues:
        """The values of an index of the catalogue."""
        return cls(Func.from_wire(index.function), index.multi)

    def of(self, document: Any) -> Any:
        """What the function gives for a document. Raises ReqlError or DatumError."""
        field = self.func.code.simple_field
        if field is not None:
            found = document.get(field, _MISSING) if type(document) is dict else _MISSING
            return self.func.call(document) if found is _MISSING else found
        return WORK.do(self.func.call, document)

    def elements(self, document: Any) -> Sequence[Any]:
        """The document's values. An error of the function gives none, as in RethinkDB."""
        try:
            value = self.of(document)
        except (ReqlError, DatumError):
            return ()
        return value if self.multi and type(value) is list else (value,)

    def entries(self, document: Any) -> list[tuple[bytes, Any]]:
        """The document's (encoded key, value) pairs. A value that cannot be a key gives none; equal elements of an
        array give as many equal pairs."""
        found = []
        for element in self.elements(document):
            try:
                found.append((secondary_key(element), element))
            except DatumError:
                continue
        return found

    def complete_keys(self, document: Any, lacking: bool = True) -> list[bytes]:
        """What a complete index has for the document: the keys of its values, or why it is listed apart. `lacking` says
        whether it lists documents without a value."""
        try:
            value = self.of(document)
        except ReqlError as error:
            missing = error.kind == ErrorKind.NON_EXISTENCE
        except DatumError as error:
            missing = error.kind == "non_existence"
        else:
            return self._keys_of(value)
        if not missing:
            return [Apart.FAILED.value]
        return [Apart.LACKING.value] if lacking else []

    def apart_from_geometry(self, document: Any) -> list[bytes]:
        """What a complete geo index has for the document besides the cells of its shape: that it is listed apart, where
        its value is anything but geometry, so that whoever compares it as such fails."""
        try:
            value = self.of(document)
            if reql_type(value) == GEOMETRY:
                shape_of(value)
                return []
        except ReqlError as error:
            if error.kind == ErrorKind.NON_EXISTENCE:
                return []
        except DatumError as error:
            if error.kind == "non_existence":
                return []
        return [Apart.FAILED.value]

    def _keys_of(self, value: Any) -> list[bytes]:
        if self.multi:
            return _multi_keys(value)
        try:
            return [secondary_key(value)]
        except DatumError:
            return [_place_apart(value).value]

    def to_wire(self) -> dict[str, Any]:
        return {"function": self.func.to_wire(), "multi": self.multi}

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> IndexValues:
        return cls(Func.from_wire(wire["function"]), wire["multi"])


def _multi_keys(value: Any) -> list[bytes]:
    if value is None:
        return []
    keys = [] if type(value) is list else [Apart.SINGLE.value]
    for element in value if type(value) is list else (value,):
        try:
            keys.append(secondary_key(element))
        except DatumError:
            continue
    return keys


def _place_apart(value: Any) -> Apart:
    if value is None:
        return Apart.NULL
    if type(value) is list:
        return Apart.ARRAY
    return Apart.OBJECT if type(value) is dict else Apart.FAILED
