"""Run options: what `.run(conn, ...)` passes along with a query."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from photondb.reql.compiler import PROFILE
from photondb.reql.errors import CompileError, logic_error
from photondb.reql.wire import Term

DEFAULT_BATCH_ROWS = 1000
DEFAULT_BATCH_BYTES = 1_000_000
DEFAULT_BATCH_SECONDS = 0.5
DEFAULT_SCALEDOWN = 4

_KNOWN = frozenset(
    {
        "array_limit",
        "binary_format",
        "changefeed_queue_size",
        "db",
        "durability",
        "first_batch_scaledown_factor",
        "group_format",
        "identifier_format",
        "ignore_write_hook",
        "max_batch_bytes",
        "max_batch_rows",
        "max_batch_seconds",
        "min_batch_rows",
        "noreply",
        "profile",
        "read_mode",
        "time_format",
        "timeout",
        "use_outdated",
    }
)
"""The run options of RethinkDB. The formats are the drivers' own business: the answers are the same."""

_PLAIN = frozenset({"noreply", "profile", "time_format", "group_format", "binary_format"})
"""Options that don't change what a query means, so that queries with and without them share a plan."""


class RunOptions(msgspec.Struct, gc=False):
    """The options of one query. `language` are those that stand in for optional arguments of terms."""

    noreply: bool = False
    profile: bool = False
    language: dict[str, Any] = {}
    max_batch_rows: int = DEFAULT_BATCH_ROWS
    max_batch_bytes: int = DEFAULT_BATCH_BYTES
    max_batch_seconds: float = DEFAULT_BATCH_SECONDS

    plan_names: frozenset[str] = frozenset()
    """The names that a plan is compiled for: those of `language`, and `profile`."""


NO_OPTIONS = RunOptions()

CACHE_SIZE = 1024
_known_options: dict[bytes, RunOptions] = {}


def read_options(given: dict[str, Any]) -> RunOptions:
    """The options of a query's envelope, which must not be changed: drivers send the same ones with every query, so
    that those are read once. Raises CompileError or a ReqlError that names the option."""
    if not given:
        return NO_OPTIONS
    key = orjson.dumps(given)
    options = _known_options.get(key)
    if options is None:
        options = _read(given)
        if len(_known_options) >= CACHE_SIZE:
            _known_options.clear()
        _known_options[key] = options
    return options


def _read(given: dict[str, Any]) -> RunOptions:
    options = RunOptions(language={})
    for name, value in given.items():
        if name not in _KNOWN:
            raise CompileError(f"Unrecognized global optional argument `{name}`.")
        value = _literal(name, value)
        if name == "noreply":
            options.noreply = bool(value)
        elif name == "profile":
            options.profile = bool(value)
        elif name == "max_batch_rows":
            options.max_batch_rows = _positive_integer(name, value)
        elif name == "max_batch_bytes":
            options.max_batch_bytes = _positive_integer(name, value)
        elif name == "max_batch_seconds":
            options.max_batch_seconds = _positive_number(name, value)
        elif name == "min_batch_rows" or name == "first_batch_scaledown_factor":
            _positive_number(name, value)
        elif name == "use_outdated":
            raise logic_error("The `use_outdated` optarg is no longer supported.  Use the `read_mode` optarg instead.")
        elif name == "array_limit":
            options.language[name] = _array_limit(value)
        elif name not in _PLAIN:
            options.language[name] = value
    options.plan_names = frozenset(options.language)
    if options.profile:
        options.plan_names |= {PROFILE}
    return options


def _literal(name: str, value: Any) -> Any:
    """The value of an option: a datum without terms in it, or a database term's name."""
    if type(value) is list:
        if len(value) == 2 and value[0] == Term.DB and type(value[1]) is list and len(value[1]) == 1:
            return value[1][0]
        if len(value) == 2 and value[0] == Term.DATUM:
            return value[1]
        if len(value) == 2 and value[0] == Term.MAKE_ARRAY and type(value[1]) is list:
            return [_literal(name, element) for element in value[1]]
        raise logic_error(f"The run option `{name}` must be a literal value.")
    return value


def _array_limit(value: Any) -> int:
    limit = _integer("array_limit", value)
    if limit < 1:
        raise logic_error(f"Illegal array size limit `{limit}`.  (Must be >= 1.)")
    return limit


def _integer(name: str, value: Any) -> int:
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int:
        raise logic_error(f"The run option `{name}` must be an integer, not {value!r}.")
    return value


def _positive_integer(name: str, value: Any) -> int:
    number = _integer(name, value)
    if number < 1:
        raise logic_error(f"The run option `{name}` must be positive, not {number}.")
    return number


def _positive_number(name: str, value: Any) -> float:
    if type(value) not in (int, float) or value <= 0:
        raise logic_error(f"The run option `{name}` must be a positive number, not {value!r}.")
    return float(value)
