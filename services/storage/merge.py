"""How an update's patch is merged into a document, `r.literal` included."""

from __future__ import annotations

from typing import Any

from photondb.datum.errors import DatumError
from photondb.datum.types import REQL_TYPE, reql_type, type_name
from photondb.datum.validation import validate

_LITERAL = "LITERAL"
_BINARY = "BINARY"
_ABSENT = object()


def merge_document(old: dict[str, Any], patch: Any) -> Any:
    """The document with `patch` merged into it, as RethinkDB's update and merge do. Neither is changed.

    Raises DatumError for a pseudo type as the patch, and where a merge would break one.
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
    return _merge_fields(old, patch)


def _merge_fields(old: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    merged = old.copy()
    for name, value in patch.items():
        kind = type(value)
        if kind is dict:
            present = merged.get(name)
            if REQL_TYPE in value and value[REQL_TYPE] == _LITERAL:
                value = value.get("value", _ABSENT)
                if value is _ABSENT:
                    merged.pop(name, None)
                    continue
            elif type(present) is dict:
                value = _merge_values(present, value)
            else:
                value = _drop_literals(value)
        elif kind is list:
            value = _drop_literals(value)
        merged[name] = value
    return merged


def _merge_values(old: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    if REQL_TYPE not in patch and REQL_TYPE not in old:
        return _merge_fields(old, patch)
    if _BINARY in (patch.get(REQL_TYPE), old.get(REQL_TYPE)):
        return patch  # a binary is one value, not an object with fields
    merged: dict[str, Any] = validate(_merge_fields(old, patch))
    return merged


def _drop_literals(value: Any) -> Any:
    """`value` with what its literals stand for; those without a value are left out."""
    kind = type(value)
    if kind is dict:
        if value.get(REQL_TYPE) == _LITERAL:
            return value.get("value", _ABSENT)
        fields = {name: _drop_literals(field) for name, field in value.items()}
        return {name: field for name, field in fields.items() if field is not _ABSENT}
    if kind is list:
        elements = [_drop_literals(element) for element in value]
        return [element for element in elements if element is not _ABSENT]
    return value
