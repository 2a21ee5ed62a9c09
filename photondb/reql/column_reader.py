"""Fields of JSON documents as columns: only these are decoded, a block of documents at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from photondb.reql.vectors import Strings, Vector, column_of

Getters = tuple[Callable[[Any], Any], ...]


def can_be_columns(fields: Iterable[str]) -> bool:
    """Whether fields have names that msgspec finds in documents by themselves, as they are written there."""
    return all(name.isprintable() and '"' not in name and "\\" not in name for name in fields)


class ColumnReader:
    """Makes columns of some fields, which `can_be_columns`, with the numbers that `strings` gives to strings."""

    __slots__ = ("_decode", "_getters", "fields", "strings")

    def __init__(self, fields: Sequence[str], strings: Strings) -> None:
        self.fields = tuple(fields)
        self.strings = strings
        self._decode, self._getters = _record_of(self.fields)

    def read(self, documents: Iterable[bytes]) -> list[Vector]:
        """The columns, in the order of the fields. Raises msgspec.DecodeError for what is no JSON object."""
        records = list(map(self._decode, documents))
        return [column_of(list(map(get, records)), msgspec.UNSET, self.strings) for get in self._getters]


@functools.lru_cache(maxsize=256)
def _record_of(fields: tuple[str, ...]) -> tuple[Callable[[bytes], Any], Getters]:
    """A decoder for records of the fields, and what takes each out of one."""
    names = [f"f{number}" for number in range(len(fields))]
    record = msgspec.defstruct(
        "Record",
        [(name, Any, msgspec.UNSET) for name in names],
        rename=dict(zip(names, fields, strict=True)),
        gc=False,
    )
    return msgspec.json.Decoder(record).decode, tuple(map(attrgetter, names))
