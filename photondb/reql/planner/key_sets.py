"""Where in an index the documents stand whose value fulfils a condition: ranges of keys, and places apart.

A complete index lists every document for which its function gives a value, those whose value cannot be a key apart
(`photondb.reql.index_values.Apart`). A key set may hold more than fulfils the condition, never less, because the
condition is checked on the documents all the same. What it says about values follows the order of types: array, bool,
null, number, object, binary, time, string.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from photondb.datum.errors import DatumError
from photondb.datum.extreme import Extreme
from photondb.datum.keys import HIGHEST, after_prefix, secondary_key
from photondb.datum.types import reql_type
from photondb.reql.index_values import Apart
from photondb.reql.wire import Term

KeyPair = tuple[bytes, bytes]
"""Keys from the first (inclusive) to the second (exclusive)."""


class KeySet(NamedTuple):
    """Ranges in ascending order, without overlaps, and places apart."""

    ranges: tuple[KeyPair, ...]
    apart: frozenset[Apart] = frozenset()

    def __and__(self, other: KeySet) -> KeySet:
        """What is in both."""
        ranges = []
        for low, high in self.ranges:
            for other_low, other_high in other.ranges:
                first, last = max(low, other_low), min(high, other_high)
                if first < last:
                    ranges.append((first, last))
        return KeySet(tuple(ranges), self.apart & other.apart)

    def __or__(self, other: KeySet) -> KeySet:
        """What is in one of them."""
        return KeySet(_joined([*self.ranges, *other.ranges]), self.apart | other.apart)


NOTHING = KeySet(())
EVERYTHING = KeySet(((b"", HIGHEST),), frozenset({Apart.ARRAY, Apart.NULL, Apart.OBJECT}))
"""Everything that has a value."""
PRESENT = KeySet(EVERYTHING.ranges, EVERYTHING.apart - {Apart.NULL})
"""Everything that has a value other than null."""


class NotComparable(Exception):
    """The value says nothing about keys."""


_ARRAY_RANK, _BOOL_RANK, _NULL_RANK, _NUMBER_RANK, _OBJECT_RANK, _BINARY_RANK, _TIME_RANK, _STRING_RANK = range(8)

_UNBOUNDED: dict[int, KeyPair] = {_ARRAY_RANK: (b"", b"B"), _NULL_RANK: (b"D", b"D"), _OBJECT_RANK: (b"P", b"P")}
"""For a value without a key: where the keys of greater values begin, at the earliest, and where those of lesser ones
end, at the latest."""


def _rank(value: Any) -> int:
    kind = type(value)
    if kind is dict:
        name = reql_type(value)
        return {"BINARY": _BINARY_RANK, "TIME": _TIME_RANK}.get(name or "", _OBJECT_RANK)
    ranks = {list: _ARRAY_RANK, bool: _BOOL_RANK, type(None): _NULL_RANK, str: _STRING_RANK}
    return ranks.get(kind, _NUMBER_RANK)


def _key(value: Any) -> bytes | None:
    """The key of a value; None for a value that has none. Raises NotComparable for what no document can have."""
    if type(value) is Extreme:
        raise NotComparable
    try:
        return secondary_key(value)
    except DatumError:
        return None


def equal_to(value: Any) -> KeySet:
    """The values that equal `value`."""
    key = _key(value)
    if key is not None:
        return KeySet(((key, after_prefix(key)),))
    places = {_ARRAY_RANK: Apart.ARRAY, _NULL_RANK: Apart.NULL}
    return KeySet((), frozenset({places.get(_rank(value), Apart.OBJECT)}))


def compared(operator: int, value: Any) -> KeySet:
    """The values for which `<value of the document> operator value` may hold; `operator` is EQ, NE, LT, LE, GT, GE."""
    if operator == Term.EQ:
        return equal_to(value)
    key, rank = _key(value), _rank(value)
    if operator == Term.NE:
        place = () if key is not None or rank != _NULL_RANK else (Apart.NULL,)
        around = EVERYTHING.ranges if key is None else ((b"", key), (after_prefix(key), HIGHEST))
        return KeySet(around, EVERYTHING.apart.difference(place))
    if operator in (Term.LT, Term.LE):
        high = _UNBOUNDED[rank][1] if key is None else key if operator == Term.LT else after_prefix(key)
        apart = {Apart.ARRAY}
        apart |= {Apart.NULL} if rank >= _NULL_RANK else set()
        apart |= {Apart.OBJECT} if rank >= _OBJECT_RANK else set()
        return KeySet(((b"", high),), frozenset(apart))
    low = _UNBOUNDED[rank][0] if key is None else key if operator == Term.GE else after_prefix(key)
    apart = {Apart.ARRAY} if rank == _ARRAY_RANK else set()
    apart |= {Apart.NULL} if rank <= _NULL_RANK else set()
    apart |= {Apart.OBJECT} if rank <= _OBJECT_RANK else set()
    return KeySet(((low, HIGHEST),), frozenset(apart))


def one_of(values: Iterable[Any]) -> KeySet:
    """The values that equal one of `values`."""
    ranges: list[KeyPair] = []
    apart: frozenset[Apart] = frozenset()
    for value in values:
        found = equal_to(value)
        ranges += found.ranges
        apart |= found.apart
    return KeySet(_joined(ranges), apart)


def element(value: Any) -> KeySet:
    """In a multi index: the arrays that have `value` among their elements, and what a search in it would fail on."""
    key = _key(value)
    if key is None:
        raise NotComparable
    return KeySet(((key, after_prefix(key)),), frozenset({Apart.SINGLE}))


def single_key(keys: KeySet) -> bytes | None:
    """The one key that a set is made of, if it is."""
    if len(keys.ranges) == 1 and not keys.apart:
        low, high = keys.ranges[0]
        if low and high == after_prefix(low):
            return low
    return None


def compound(parts: list[KeySet]) -> KeySet:
    """Where a compound index has the arrays whose elements are in `parts`, one for each."""
    prefix = b"A"
    apart = frozenset({Apart.ARRAY}) if any(part.apart for part in parts) else frozenset()
    for part in parts:
        key = single_key(part)
        if key is None:
            ranges = tuple((prefix + low, prefix + high) for low, high in part.ranges)
            return KeySet(ranges, apart)
        prefix += key
    return KeySet(((prefix + b"\0", after_prefix(prefix + b"\0")),), apart)


def beginning(parts: list[KeySet]) -> KeySet:
    """Where a compound index has the arrays whose first elements are in `parts`, while the others may be anything, even
    missing. The index must list documents without one of the elements."""
    prefix = b"A"
    apart = frozenset({Apart.ARRAY, Apart.LACKING, Apart.FAILED})
    for part in parts:
        key = single_key(part)
        if key is None:
            return KeySet(tuple((prefix + low, prefix + high) for low, high in part.ranges), apart)
        prefix += key
    return KeySet(((prefix, prefix + HIGHEST),), apart)


def _joined(ranges: Iterable[KeyPair]) -> tuple[KeyPair, ...]:
    joined: list[KeyPair] = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        elif low < high:
            joined.append((low, high))
    return tuple(joined)
