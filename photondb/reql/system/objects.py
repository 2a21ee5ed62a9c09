"""Reading the objects that somebody writes into system tables: fields one by one, with RethinkDB's complaints."""

from __future__ import annotations

import re
from typing import Any

from photondb.datum.text import print_datum
from photondb.reql.errors import ReqlError, op_failed
from photondb.reql.names import VALID_CHARACTERS, is_name

_is_uuid = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}").fullmatch


def is_uuid(value: Any) -> bool:
    """Whether a value is a uuid as text."""
    return type(value) is str and _is_uuid(value) is not None


class Fields:
    """The fields of an object that are still to be read. `where` stands before each complaint."""

    def __init__(self, row: dict[str, Any], where: str = "") -> None:
        self._row = row
        self._left = set(row)
        self._where = where

    def __contains__(self, name: str) -> bool:
        return name in self._row

    def fail(self, problem: str) -> ReqlError:
        """The error for a problem."""
        return op_failed(self._where + problem)

    def take(self, name: str) -> Any:
        """The value of a field that must be there."""
        if name not in self._row:
            raise self.fail(f"Expected a field named `{name}`.")
        self._left.discard(name)
        return self._row[name]

    def take_name(self, field: str, what: str) -> str:
        """The value of a field that is the name of something."""
        value = self.take(field)
        if type(value) is not str:
            raise self.fail(f"In `{field}`: Expected a {what}; got {print_datum(value)}")
        if not is_name(value):
            raise self.fail(f"In `{field}`: {print_datum(value)} is not a valid {what}; {VALID_CHARACTERS}")
        return value

    def take_word(self, field: str, first: str, second: str) -> str:
        """The value of a field that is one of two words."""
        value = self.take(field)
        if value != first and value != second:
            raise self.fail(f'In `{field}`: Expected "{first}" or "{second}", got: {print_datum(value)}')
        return str(value)

    def finish(self) -> None:
        """Raise where there are fields that nobody asked for."""
        if self._left:
            raise self.fail("Unexpected key(s): " + " ".join(sorted(self._left)))
