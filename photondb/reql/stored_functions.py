"""Functions that the catalogue keeps: of indexes and write hooks, as terms, as binaries that can be passed on, as text.

A binary starts with RethinkDB's prefix and goes on with JSON. It is what `index_status` and `get_write_hook` give, and
what `index_create` and `set_write_hook` take in place of a function.
"""

from __future__ import annotations

from typing import Any

import orjson

from photondb.api.catalogue import IndexInfo
from photondb.datum.binary import binary_bytes, make_binary
from photondb.reql.errors import ReqlError, logic_error
from photondb.reql.function import Func
from photondb.reql.javascript_text import function_text
from photondb.reql.wire import Term

INDEX_PREFIX = b"$reql_index_function$"
HOOK_PREFIX = b"$reql_write_hook_function$"


def stored_term(func: Func) -> list[Any]:
    """The wire term of a function, as the catalogue keeps it: without the place in the query that it came from."""
    return func.to_wire()[:2]


def field_term(name: str) -> list[Any]:
    """The wire term of the function that takes a field of a document."""
    return [Term.FUNC.value, [[Term.MAKE_ARRAY.value, [1]], [Term.BRACKET.value, [[Term.VAR.value, [1]], name]]]]


def require_deterministic(func: Func, whose: str) -> None:
    """Raise for a function that may give another value when it is called again, today or in a year."""
    if not func.code.effects.lasting:
        raise logic_error(f"Could not prove function deterministic.  {whose} functions must be deterministic.")


def is_binary(value: Any) -> bool:
    """Whether a value is a binary, which may hold a function."""
    return type(value) is dict and value.get("$reql_type$") == "BINARY"


def index_binary(index: IndexInfo) -> dict[str, Any]:
    """The function of an index as a binary; it tells, too, whether the index is a multi or a geo index, and what its
    entries carry."""
    content: dict[str, Any] = {"function": index.function, "multi": index.multi, "geo": index.geo}
    if (carried := carried_fields(index)) is not None:
        content["include"] = carried
    return make_binary(INDEX_PREFIX + orjson.dumps(content))


def carried_fields(index: IndexInfo) -> list[str] | str | None:
    """What the entries of a covering index carry of documents: fields, or `"*"` for all. None for other indexes."""
    return "*" if index.include_all else list(index.include) or None


def read_index_binary(binary: dict[str, Any]) -> tuple[Func, bool, bool, Any]:
    """(function, multi, geo, include) of the binary of an index."""
    raw = binary_bytes(binary)
    if not raw.startswith(INDEX_PREFIX):
        raise logic_error(
            "Cannot create an sindex except from a reql_index_function returned from `index_status` in the field "
            "`function`."
        )
    try:
        content = orjson.loads(raw[len(INDEX_PREFIX) :])
        func = Func.from_wire(content["function"])
        return func, bool(content["multi"]), bool(content["geo"]), content.get("include")
    except (ValueError, KeyError, TypeError, IndexError, ReqlError) as error:
        raise logic_error(
            f"Binary blob passed to index create could not be interpreted as a reql_index_function ({error})."
        ) from None


def index_query(index: IndexInfo) -> str:
    """The query that makes the index, as `index_status` shows it: JavaScript."""
    options = [f"{name}: true" for name in ("multi", "geo") if getattr(index, name)]
    if (carried := carried_fields(index)) is not None:
        options.append(f"include: {orjson.dumps(carried).decode()}")
    given = f", {{{', '.join(options)}}}" if options else ""
    return f"indexCreate('{index.name}', {function_text(index.function)}{given})"


def write_hook_datum(hook: list[Any] | None) -> dict[str, Any] | None:
    """A table's write hook as `get_write_hook` gives it; None without one."""
    if hook is None:
        return None
    return {
        "function": make_binary(HOOK_PREFIX + orjson.dumps(hook)),
        "query": f"setWriteHook({function_text(hook)})",
    }


def read_hook_binary(binary: dict[str, Any]) -> Func:
    """The function of the binary of a write hook."""
    raw = binary_bytes(binary)
    if not raw.startswith(HOOK_PREFIX):
        raise logic_error(
            "Cannot create a write hook except from a reql_write_hook_function returned from `get_write_hook`."
        )
    try:
        return Func.from_wire(orjson.loads(raw[len(HOOK_PREFIX) :]))
    except (ValueError, KeyError, TypeError, IndexError, ReqlError) as error:
        raise logic_error(f"The binary passed to `set_write_hook` holds no function ({error}).") from None
