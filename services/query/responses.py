"""Response JSON as the driver protocol wants it.

The type stands first, rows are spliced in as the JSON that they already are.
"""

from __future__ import annotations

from typing import Any

import orjson

from photondb.datum.extreme import Extreme
from photondb.datum.json import dumps_computed
from photondb.reql.chunk import Chunk
from photondb.reql.errors import ErrorKind, ReqlError, ResponseType, logic_error
from photondb.reql.values import Grouped, as_datum, is_datum, value_type
from photondb.reql.wire import ResponseNote

WAIT_COMPLETE = b'{"t":4,"r":[]}'
END_OF_SEQUENCE = b'{"t":2,"r":[],"n":[]}'
NO_ANSWER = b""
"""The answer to a noreply query: the gateway keeps it to itself."""
NULL_ATOM = b'{"t":1,"r":[null]}'


def raw_atom(raw: bytes | None) -> bytes:
    """One value that is JSON already; None is null."""
    return NULL_ATOM if raw is None else b'{"t":1,"r":[%b]}' % raw


def atom(value: Any) -> bytes:
    """One datum."""
    return b'{"t":1,"r":[' + datum_json(value) + b"]}"


def rows(rows_json: bytes, more: bool, notes: tuple[ResponseNote, ...] = ()) -> bytes:
    """Some rows of a sequence, as JSON joined by commas; `more` says that others follow."""
    if not notes:
        return (b'{"t":3,"r":[%b],"n":[]}' if more else b'{"t":2,"r":[%b],"n":[]}') % rows_json
    kind = b'{"t":3,"r":[' if more else b'{"t":2,"r":['
    return b'%b%b],"n":[%b]}' % (kind, rows_json, b",".join([b"%d" % note for note in notes]))


def last_rows(chunk: Chunk) -> bytes:
    """The rows of a sequence, all that there are."""
    return chunk.json_within(b'{"t":2,"r":[', b'],"n":[]}')


def failure(error: ReqlError) -> bytes:
    """An error with its kind and backtrace."""
    body: dict[str, Any] = {"t": int(error.response_type), "r": [error.message], "b": list(error.frames or ())}
    if error.response_type is ResponseType.RUNTIME_ERROR:
        body["e"] = int(error.kind)
    try:
        encoded = orjson.dumps(body)
    except TypeError:  # a message that quotes a lone surrogate
        body["r"] = [error.message.encode("utf-8", "replace").decode()]
        encoded = orjson.dumps(body)
    return encoded


def with_profile(response: bytes, tasks: list[dict[str, Any]]) -> bytes:
    """A response with the profile of its query."""
    return response[:-1] + b',"p":' + orjson.dumps(tasks) + b"}"


def server_info(server_id: str, name: str) -> bytes:
    """What a driver learns with `conn.server()`."""
    return orjson.dumps({"t": 5, "r": [{"id": server_id, "name": name, "proxy": False}]})


def datum_json(value: Any) -> bytes:
    """The JSON of a datum; raises for what has none."""
    try:
        return dumps_computed(value)
    except TypeError:
        refuse_extremes(value)
        raise


def refuse_extremes(value: Any) -> None:
    """Raise RethinkDB's error for `r.minval` and `r.maxval` within a value that is to be sent."""
    if type(value) is Extreme:
        raise logic_error(f"Cannot convert `{value}` to JSON.")
    children = value.values() if type(value) is dict else value if type(value) is list else ()
    for child in children:
        refuse_extremes(child)


def grouped_datum(value: Grouped) -> dict[str, Any]:
    """Grouped data as the pseudo type that drivers know."""
    return {"$reql_type$": "GROUPED_DATA", "data": [[group, member] for group, member in value.pairs]}


def result_datum(value: Any) -> Any:
    """The datum that a query's value (no stream) is answered with; raises for functions and databases."""
    if type(value) is Grouped:
        return grouped_datum(value)
    if is_datum(value):
        return value
    kind = value_type(value)
    if kind == "SINGLE_SELECTION":
        return as_datum(value)
    raise ReqlError(ErrorKind.LOGIC, f"Query result must be of type DATUM, GROUPED_DATA, or STREAM (got {kind}).", ())
