"""Path specifications: which fields of an object are meant, `"a"`, `{"a": "b"}`, `["a", {"b": {"c": true}}]`.

A name means a field, an array all of its specifications together, an object what its values mean within the fields of
those names (true means the field itself). Within a field that holds an array, its elements are meant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from photondb.datum.size import check_size
from photondb.datum.text import print_datum
from photondb.reql.errors import logic_error

Paths = tuple[str | dict[str, Any], ...]
"""A specification taken apart: names of fields, and for the insides of fields, their paths by name."""


class _NotAnObject(Exception):
    """What should have had fields had none."""


def paths_of(specifications: Sequence[Any]) -> Paths:
    """The paths that several specifications mean together. Raises ReqlError for what is none, and DatumError for what
    is too large to be gone through."""
    check_size(list(specifications))
    return _paths(specifications)


def _paths(specifications: Sequence[Any]) -> Paths:
    paths: list[str | dict[str, Any]] = []
    for specification in specifications:
        kind = type(specification)
        if kind is str:
            paths.append(specification)
        elif kind is list:
            paths.extend(_paths(specification))
        elif kind is dict and specification.get("$reql_type$") != "BINARY":
            names = sorted(specification)
            paths.extend(name for name in names if specification[name] is True)
            inside = {name: _paths([specification[name]]) for name in names if specification[name] is not True}
            if inside:
                paths.append(inside)
        else:
            raise logic_error(f"Invalid path argument `{print_datum(specification)}`.")
    return tuple(paths)


def pick(value: dict[str, Any], paths: Paths) -> dict[str, Any]:
    """The object with nothing but what `paths` mean; what is not there is left out."""
    picked: dict[str, Any] = {}
    for path in paths:
        if isinstance(path, str):
            if path in value:
                picked[path] = value[path]
            continue
        check_size(value)
        for name, inner in path.items():
            if name in value:
                with suppress(_NotAnObject):
                    picked[name] = _inside(value[name], inner, pick)
    return picked


def drop(value: dict[str, Any], paths: Paths) -> dict[str, Any]:
    """The object without what `paths` mean."""
    kept = value.copy()
    for path in paths:
        if isinstance(path, str):
            kept.pop(path, None)
            continue
        check_size(value)
        for name, inner in path.items():
            if name in kept:
                with suppress(_NotAnObject):
                    kept[name] = _inside(kept[name], inner, drop)
    return kept


def _inside(value: Any, paths: Paths, change: Callable[[dict[str, Any], Paths], dict[str, Any]]) -> Any:
    """A field's value, changed: an object itself, of an array each element. Raises _NotAnObject for other values."""
    if type(value) is list:
        return [change(_object(element), paths) for element in value]
    return change(_object(value), paths)


def _object(value: Any) -> dict[str, Any]:
    if _is_object(value):
        return value  # type: ignore[no-any-return]
    raise _NotAnObject


def _is_object(value: Any) -> bool:
    return type(value) is dict and value.get("$reql_type$") != "BINARY"


def has(value: Any, paths: Paths) -> bool:
    """Whether everything that `paths` mean is there, and not null."""
    for path in paths:
        if not _is_object(value):
            return False
        if isinstance(path, str):
            if value.get(path) is None:
                return False
        elif not all(name in value and has(value[name], inner) for name, inner in path.items()):
            return False
    return True
