"""What a document is indexed by, as values: for terms that work on an index and not only through it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from photondb.api.catalogue import IndexInfo
from photondb.datum.errors import DatumError
from photondb.datum.keys import secondary_key
from photondb.reql.errors import ReqlError
from photondb.reql.function import Func
from photondb.reql.uninterrupted import WORK


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
        if self.func.code.simple_field is not None:
            return self.func.call(document)
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

    def to_wire(self) -> dict[str, Any]:
        return {"function": self.func.to_wire(), "multi": self.multi}

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> IndexValues:
        return cls(Func.from_wire(wire["function"]), wire["multi"])
