"""Merging one value into another, as ``merge`` and ``update`` do, with ``r.literal``.

A literal is ``{"$reql_type$": "LITERAL", "value": ...}``: its value replaces what it is merged into, field by field
merging left out; without a value it removes the field.  Literals stand only in the fields of a patch, never in arrays.
"""

from __future__ import annotations

from typing import Any

from photondb.datum.errors import DatumError
from photondb.datum.size import check_size
from photondb.datum.types import REQL_TYPE, Datum, reql_type, type_name
from photondb.datum.validation import check_pseudotype

__all__ = ["merge"]

_LITERAL = "LITERAL"
_BINARY = "BINARY"


def merge(old: Datum, patch: Datum) -> Datum:
    """`old` with `patch` merged into it; a patch that is no object replaces it.  Neither is changed.

    Raises DatumError for a pseudo type as the patch, and where a merge would break one inside.
    """
    if type(patch) is not dict:
        return patch
    if REQL_TYPE in patch:
        if reql_type(patch) == _LITERAL:
            raise DatumError(
                "Stray literal keyword found: literal is only legal inside of the object passed to merge or update "
                "and cannot nest inside other literals."
            )
        raise DatumError(f"Cannot merge objects of type `{type_name(patch)}`.")
    for value in patch.values():
        if type(value) is dict:
            check_size(value)
    return _merge_fields(old, patch) if type(old) is dict else _without_literals(patch)


def _merge_fields(old: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    merged = old.copy()
    for name, value in patch.items():
        if type(value) is dict:
            if value.get(REQL_TYPE) == _LITERAL:
                if "value" not in value:
                    merged.pop(name, None)
                    continue
                value = value["value"]
            else:
                present = merged.get(name)
                value = _merge_objects(present, value) if type(present) is dict else _without_literals(value)
        merged[name] = value
    return merged


def _merge_objects(old: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    if REQL_TYPE not in patch and REQL_TYPE not in old:
        return _merge_fields(old, patch)
    if _BINARY in (patch.get(REQL_TYPE), old.get(REQL_TYPE)):
        return patch  # a binary is one value, not an object with fields
    merged: dict[str, Any] = check_pseudotype(_merge_fields(old, patch))
    return merged


def _without_literals(patch: dict[str, Any]) -> dict[str, Any]:
    """`patch` as it is merged into nothing: with the values of its literals."""
    return patch if not any(type(value) is dict for value in patch.values()) else _merge_fields({}, patch)
