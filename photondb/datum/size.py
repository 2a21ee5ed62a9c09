"""How large a value may be that somebody is about to go through.

A query can make a value of which all parts are the same: ``x = [y, y]`` sixty times over takes no memory to speak of,
and is an array of 2**60 elements for everybody who sorts, compares or prints it. So who goes through a value that may
have been computed asks here first.
"""

from __future__ import annotations

from collections.abc import Iterable
from gc import get_referents
from itertools import chain
from typing import Any

from photondb.datum.errors import DatumError

__all__ = ["MAX_BYTES", "NESTING_LIMIT", "check_bytes", "check_size"]

NESTING_LIMIT = 250
"""How many containers deep a value may be.  orjson writes 254 levels, and a reply wraps a value in a few."""

MAX_BYTES = 256 * 2**20
"""How large a value may be, in bytes of JSON, about."""

_LONG_LEVEL = 10_000
"""From so many containers on it pays to see whether they are different ones."""

_BYTES_OF_ELEMENT = 4


def check_size(value: Any) -> None:
    """Raise DatumError for a value that is larger than `MAX_BYTES`, or nested deeper than `NESTING_LIMIT`.

    It takes as long as the value has parts that are stored, however often they occur in it.
    """
    if type(value) is not dict and type(value) is not list:
        if type(value) is str:
            check_bytes(len(value))
        return
    total = depth = 0
    level = [value]
    while level:
        depth += 1
        _check_depth(depth)
        if len(level) >= _LONG_LEVEL and len(set(map(id, level))) < len(level):
            _check_repetitive(level, total, depth)
            return
        elements = get_referents(*level)  # of dicts the values only, where all names are strings
        total += len(elements) * _BYTES_OF_ELEMENT
        total += sum([len(element) for element in elements if type(element) is str])
        total += sum([len(name) for name in _names(level)])
        check_bytes(total)
        level = [element for element in elements if type(element) is dict or type(element) is list]


def _check_repetitive(containers: list[Any], total: int, depth: int) -> None:
    """The same for a value of which the containers on some level are often the same: they are counted, and looked at
    once. `total` and `depth` are those of what is above them."""
    level = _counted((container, 1) for container in containers)
    while level:
        _check_depth(depth)
        inner: list[tuple[Any, int]] = []
        for container, times in level.values():
            elements = container.values() if type(container) is dict else container
            size = sum([len(element) if type(element) is str else _BYTES_OF_ELEMENT for element in elements])
            total += times * (size + sum(map(len, _names([container]))))
            check_bytes(total)
            inner += [(element, times) for element in elements if type(element) is dict or type(element) is list]
        level = _counted(inner)
        depth += 1


def _counted(containers: Iterable[tuple[Any, int]]) -> dict[int, tuple[Any, int]]:
    """Containers by identity, with how often they occur."""
    counted: dict[int, tuple[Any, int]] = {}
    for container, times in containers:
        _, others = counted.get(id(container), (None, 0))
        counted[id(container)] = (container, times + others)
    return counted


def _names(containers: list[Any]) -> Iterable[str]:
    """The names of all fields."""
    return chain.from_iterable([container for container in containers if type(container) is dict])


def _check_depth(depth: int) -> None:
    if depth > NESTING_LIMIT:
        raise DatumError(f"Value is nested too deeply (the limit is {NESTING_LIMIT} levels).", "resource")


def check_bytes(size: int) -> None:
    """Raise DatumError for a value of so many bytes when that is more than `MAX_BYTES`."""
    if size > MAX_BYTES:
        raise DatumError(f"Value over size limit (about {MAX_BYTES // 2**20} MB of JSON).", "resource")
