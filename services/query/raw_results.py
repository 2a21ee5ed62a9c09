"""What a query makes of one document, made from its JSON: the document is not decoded, only the fields that the query
names are found in it.

    r.table("users").get("ada").pluck("name", "email")
    r.table("users").get("ada")["name"]
    r.table("users").get("ada").merge({"seen": True})

None in place of a result says that the evaluator is needed, because a field is missing or a value is not a plain one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from photondb.datum.json import dumps
from photondb.datum.types import REQL_TYPE
from photondb.reql import shape as shapes
from photondb.reql.function import Frame
from photondb.reql.pipeline import field_decoder
from photondb.reql.shape import Shape
from photondb.reql.wire import Term

RawResult = Callable[[Frame, bytes], bytes | None]
"""The JSON of a result from that of a document."""

_encode = msgspec.json.encode


def raw_result(term: Shape) -> RawResult | None:
    """How to make the result of a term around a `get`, if that needs no evaluation."""
    arguments = term[1][1:]
    if term[2] or not arguments:
        return None
    if term[0] == Term.MERGE:
        return _merged(1 + arguments[0][1]) if len(arguments) == 1 and arguments[0][0] == shapes.CONSTANT else None
    if not all(argument[0] == shapes.LITERAL for argument in arguments):
        return None
    names = {argument[1] for argument in arguments}
    if term[0] == Term.PLUCK:
        return _plucked(names)
    if term[0] in (Term.BRACKET, Term.GET_FIELD) and len(arguments) == 1:
        return _field(names)
    return None


def _record(names: set[str]) -> Callable[[bytes], Any] | None:
    """A decoder of the fields as they are written; None for names that msgspec does not take."""
    if REQL_TYPE in names:
        return None
    attributes = {f"field{number}": name for number, name in enumerate(sorted(names))}
    fields: list[Any] = [(attribute, Raw | UnsetType, UNSET) for attribute in attributes]
    try:
        record = msgspec.defstruct("Record", fields, rename=attributes, gc=False)
    except ValueError:
        return None
    return msgspec.json.Decoder(record).decode


def _plucked(names: set[str]) -> RawResult | None:
    decode = _record(names)
    return None if decode is None else lambda _, document: _encode(decode(document))


def _field(names: set[str]) -> RawResult | None:
    decode = _record(names)
    if decode is None:
        return None

    def result(_: Frame, document: bytes) -> bytes | None:
        value = decode(document).field0
        return None if value is UNSET else bytes(value)

    return result


def _merged(slot: int) -> RawResult:
    def result(frame: Frame, document: bytes) -> bytes | None:
        patch = frame[slot]
        if type(patch) is not dict or not patch or REQL_TYPE in patch or any(type(v) is dict for v in patch.values()):
            return None
        if field_decoder(frozenset(patch))(document):
            return None  # a field that is there is replaced
        return b"%b,%b" % (document[:-1], dumps(patch)[1:])

    return result
