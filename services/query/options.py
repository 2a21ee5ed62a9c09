"""Run options: what `.run(conn, ...)` passes along with a query."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import orjson

from photondb.datum.text import print_datum
from photondb.reql.compiler import PROFILE, UNOPTIMIZED, compile_function
from photondb.reql.errors import CompileError, logic_error
from photondb.reql.parameters import as_integer
from photondb.reql.wire import Term

_LANGUAGE = frozenset(
    {
        *("array_limit", "attempts", "auth", "base", "changefeed_queue_size", "conflict", "data", "db", "default"),
        *("default_timezone", "dry_run", "durability", "emergency_repair", "emit", "fill", "final_emit", "float"),
        *("geo", "geo_system", "header", "identifier_format", "ignore_write_hook", "include_initial"),
        *("include_offsets", "include_states", "include_types", "index", "interleave", "join_first", "join_method"),
        *("left_bound", "max_dist"),
        *("max_results", "method", "multi", "non_atomic", "nonvoting_replica_tags", "num_vertices", "ordered"),
        *("overwrite", "page", "page_limit", "params", "primary_key", "primary_replica_tag", "read_mode", "redirects"),
        *("replicas", "result_format", "return_changes", "return_vals", "right_bound", "shards", "squash", "timeout"),
        *("unit", "use_outdated", "verify", "wait_for"),
    }
)
"""What stands in for optional arguments of terms: all of them, as in RethinkDB (its `optargs.cc`)."""

_BATCHING = frozenset(
    {
        *("min_batch_rows", "max_batch_rows", "max_batch_bytes", "max_batch_seconds"),
        "first_batch_scaledown_factor",
    }
)

_OF_DRIVERS = frozenset({"time_format", "group_format", "binary_format"})
"""The drivers' own business, whatever they say: the answers are the same."""

TRANSACTION = "transaction"
"""The plan name of queries that are part of a transaction, or that read the past."""

CACHED = "cache"
"""The plan name of queries that may be answered from the result cache."""

EXPLAINED = "explain"
"""The plan name of queries that are explained."""

CACHE_SIZE = 1024
MAX_CACHED_BYTES = 1024
"""Options with more JSON than this are no driver's usual ones, and read each time."""


class RunOptions(msgspec.Struct, gc=False):
    """The options of one query. `language` are those that stand in for optional arguments of terms, `batching` those
    about the sizes of batches, not checked yet: that is done when there are batches. `plan_names` are the names that a
    plan is compiled for: those of `language`, and what keeps a query from being answered together with others.
    `transaction` is the id of the transaction that the query is part of, `atomic` that it is one of its own, and
    `as_of_us` the time (microseconds since 1970) that it reads as of. Without `optimizations` no shortcut is taken: the
    answer is the same, to compare with in tests and when a shortcut is in doubt. With `explain` the answer tells how
    the query is run: "plan" without running it, "analyze" with what came of it. With `cache` it may
    be an answer that was given before, if its tables have not changed. With `stream` what would be an array that is
    computed from a stream (sorted rows, different values, groups as rows) is a stream itself, of any length."""

    noreply: bool = False
    profile: bool = False
    language: dict[str, Any] = {}
    batching: dict[str, Any] = {}
    transaction: str = ""
    atomic: bool = False
    as_of_us: int | None = None
    optimizations: bool = True
    explain: Literal["", "plan", "analyze"] = ""
    cache: bool = False
    stream: bool = False
    plan_names: frozenset[str] = frozenset()


NO_OPTIONS = RunOptions()

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
        # Those of transactions and traces are other ones each time.
        if len(key) <= MAX_CACHED_BYTES and not options.transaction and "traceparent" not in given:
            if len(_known_options) >= CACHE_SIZE:
                _known_options.clear()
            _known_options[key] = options
    return options


def _read(given: dict[str, Any]) -> RunOptions:
    options = RunOptions(language={}, batching={})
    for name, term in given.items():
        value = _value(name, term)
        if name == "noreply":
            options.noreply = value is True
        elif name == "profile":
            options.profile = value is True
        elif name == "transaction":
            options.transaction = _transaction(value)
        elif name == "atomic":
            options.atomic = _boolean(name, value)
        elif name == "as_of":
            options.as_of_us = _time_us(value)
        elif name == "cache":
            options.cache = _boolean(name, value)
        elif name == "stream":
            options.stream = _boolean(name, value)
        elif name == "explain":
            options.explain = _explain(value)
        elif name == "optimizations":
            options.optimizations = _boolean(name, value)
        elif name == "traceparent":
            _text(name, value)  # the gateway has begun the trace, or gone on with it
        elif name == "array_limit":
            options.language[name] = _array_limit(value)
        elif name in _LANGUAGE:
            options.language[name] = value
        elif name in _BATCHING:
            options.batching[name] = value
        elif name not in _OF_DRIVERS:
            raise CompileError(f"Unrecognized global optional argument `{name}`.")
    options.plan_names = frozenset(options.language)
    if options.profile:
        options.plan_names |= {PROFILE}
    if options.transaction and options.atomic:
        raise logic_error("The run options `transaction` and `atomic` exclude each other.")
    if options.as_of_us is not None and (options.transaction or options.atomic):
        raise logic_error("The run option `as_of` excludes `transaction` and `atomic`.")
    if options.transaction or options.atomic or options.as_of_us is not None:
        options.plan_names |= {TRANSACTION}
    if options.cache:
        options.plan_names |= {CACHED}
    if options.explain:
        options.plan_names |= {EXPLAINED}
    if not options.optimizations:
        options.plan_names |= {UNOPTIMIZED}
    return options


def _value(name: str, term: Any) -> Any:
    """The value of an option: that of a term which depends on nothing, or the name in a database term."""
    if type(term) is not list and type(term) is not dict:
        return term
    if type(term) is list and len(term) == 2 and term[0] == Term.DB and type(term[1]) is list and len(term[1]) == 1:
        return term[1][0]
    function = compile_function([int(Term.FUNC), [[int(Term.MAKE_ARRAY), []], term]])
    if not function.pushable:
        raise logic_error(f"The run option `{name}` must be a value that depends on nothing.")
    return function.call()


def _explain(value: Any) -> Literal["", "plan", "analyze"]:
    if value == "analyze":
        return "analyze"
    if type(value) is not bool:
        raise logic_error(f'The run option `explain` must be a boolean or "analyze", not {print_datum(value)}.')
    return "plan" if value else ""


def _transaction(value: Any) -> str:
    if type(value) is not str or not value:
        raise logic_error(
            "The run option `transaction` must be the id of a row of `rethinkdb.transactions`, not "
            f"{print_datum(value)}."
        )
    return value


def _time_us(value: Any) -> int:
    if type(value) is not dict or value.get("$reql_type$") != "TIME":
        raise logic_error(f"The run option `as_of` must be a time, not {print_datum(value)}.")
    return round(float(value["epoch_time"]) * 1_000_000)


def _text(name: str, value: Any) -> str:
    if type(value) is not str:
        raise logic_error(f"The run option `{name}` must be a string, not {print_datum(value)}.")
    return value


def _boolean(name: str, value: Any) -> bool:
    if type(value) is not bool:
        raise logic_error(f"The run option `{name}` must be a boolean, not {print_datum(value)}.")
    return value


def _array_limit(value: Any) -> int:
    limit = as_integer(value)
    if limit < 1:
        raise logic_error(f"Illegal array size limit `{limit}`.  (Must be >= 1.)")
    return limit
