"""Secondary indexes: making, dropping, renaming and looking after them."""

from __future__ import annotations

import asyncio
from typing import Any

from photondb.api.catalogue import CreateIndex, DropIndex, IndexInfo, RenameIndex, TableInfo
from photondb.api.storage_status import IndexStatus
from photondb.reql import system_tables
from photondb.reql.effects import Effects
from photondb.reql.errors import logic_error, op_failed
from photondb.reql.function import Func
from photondb.reql.parameters import Runtime, Table, Value
from photondb.reql.registry import term
from photondb.reql.stored_functions import (
    carried_fields,
    field_term,
    index_binary,
    index_query,
    is_binary,
    read_index_binary,
    require_deterministic,
    stored_term,
)
from photondb.reql.suspend import wait
from photondb.reql.values import wrong_type
from photondb.reql.wire import Term

FIRST_POLL_SECONDS = 0.05
LONGEST_POLL_SECONDS = 1.0
"""`index_wait` asks at first after this time whether indexes are ready, then after twice as long, and so on up to the
longest."""


@term(Term.INDEX_CREATE, effects=Effects.WRITES)
def index_create(
    runtime: Runtime,
    table: Table,
    name: str,
    function: Value = ...,
    *,
    multi: bool | None = None,
    geo: bool | None = None,
    include: Value = None,
) -> dict[str, Any]:
    """Make an index of a table, on the field of that name or on what a function gives for a document.

    In a multi index a document is found by each element of the array that the function gives; a geo index is one of
    geometry. A covering index carries the fields of documents that `include` lists, or all of them where it is "*", so
    that queries which need no others are answered from it alone. The function may be one that `index_status` showed (a
    binary), of which the options are kept.
    """
    info = table.info
    _refuse_primary_key(info, name)
    system_tables.refuse(info.database, "you can't create secondary indexes on the tables in it.")
    if function is ...:
        stored = field_term(name)
    elif is_binary(function):
        func, was_multi, was_geo, was_include = read_index_binary(function)
        stored = stored_term(func)
        include = was_include if include is None else include
        multi = was_multi if multi is None else multi
        geo = was_geo if geo is None else geo
    else:
        if type(function) is not Func:
            raise wrong_type("FUNCTION", function)
        function.check_arity(1)
        require_deterministic(function, "Index")
        stored = stored_term(function)
    runtime.require("config", info.database, info)
    fields, everything = _carried(include)
    runtime.change_catalogue(
        CreateIndex(info.database, info.name, name, stored, bool(multi), bool(geo), fields, everything)
    )
    return {"created": 1}


def _carried(include: Value) -> tuple[tuple[str, ...], bool]:
    """The fields that a covering index is to carry, and whether it is to carry all of them."""
    if include is None or include is False:
        return (), False
    if include is True or include == "*":
        return (), True
    if type(include) is not list or not include or not all(type(field) is str for field in include):
        raise logic_error('`include` must be a list of names of top-level fields, or "*" for whole documents.')
    return tuple(include), False


@term(Term.INDEX_DROP, effects=Effects.WRITES)
def index_drop(runtime: Runtime, table: Table, name: str) -> dict[str, Any]:
    """Drop an index."""
    info = table.info
    runtime.require("config", info.database, info)
    _refuse_expiry(runtime, info, name)
    runtime.change_catalogue(DropIndex(info.database, info.name, name))
    return {"dropped": 1}


@term(Term.INDEX_RENAME, effects=Effects.WRITES)
def index_rename(
    runtime: Runtime, table: Table, name: str, new_name: str, *, overwrite: bool = False
) -> dict[str, Any]:
    """Rename an index; with `overwrite` in place of another one."""
    info = table.info
    _refuse_primary_key(info, name)
    _refuse_primary_key(info, new_name)
    runtime.require("config", info.database, info)
    _refuse_expiry(runtime, info, name)
    runtime.change_catalogue(RenameIndex(info.database, info.name, name, new_name, overwrite))
    return {"renamed": int(name != new_name)}


@term(Term.INDEX_LIST, effects=Effects.READS)
def index_list(runtime: Runtime, table: Table) -> list[str]:
    """The names of a table's indexes, in order."""
    return sorted(index.name for index in runtime.current(table.info).indexes)


@term(Term.INDEX_STATUS, effects=Effects.READS)
def index_status(runtime: Runtime, table: Table, *names: str) -> list[dict[str, Any]]:
    """How indexes (all of the table without names) are made, and how far they are built."""
    return [_status(index, state) for index, state in _states(runtime, table.info, names)]


@term(Term.INDEX_WAIT, effects=Effects.READS)
def index_wait(runtime: Runtime, table: Table, *names: str) -> list[dict[str, Any]]:
    """Wait until indexes (all of the table without names) are ready, and return their status.

    It is an error when one cannot be built, for instance because a key in it would be too long.
    """
    poll_seconds = FIRST_POLL_SECONDS
    runtime.untimed = True
    while True:
        states = _states(runtime, table.info, names)
        if all(state.ready for _, state in states):
            runtime.untimed = False
            return [_status(index, state) for index, state in states]
        for index, state in states:
            if state.problem:
                raise op_failed(
                    f"Index `{index.name}` on table `{runtime.name_of(table.info)}` cannot be built: {state.problem}"
                )
        wait(asyncio.sleep(poll_seconds))
        poll_seconds = min(2 * poll_seconds, LONGEST_POLL_SECONDS)
        runtime.checkpoint()


def _states(runtime: Runtime, info: TableInfo, names: tuple[str, ...]) -> list[tuple[IndexInfo, IndexStatus]]:
    """Indexes, by name, with their state in storage. Raises for a name that there is not."""
    states = {state.name: state for state in runtime.index_states(info)}
    if not states.keys() <= {index.name for index in runtime.current(info).indexes}:
        wait(runtime.service.refresh_catalogue())  # another query service has made one just now
    indexes = {index.name: index for index in runtime.current(info).indexes if index.name in states}
    for name in sorted(names):
        if name not in indexes:
            raise op_failed(f"Index `{name}` was not found on table `{runtime.name_of(info)}`.")
    return [(indexes[name], states[name]) for name in sorted(set(names) or indexes)]


def _status(index: IndexInfo, state: IndexStatus) -> dict[str, Any]:
    status: dict[str, Any] = {
        "function": index_binary(index),
        "geo": index.geo,
        "index": index.name,
        "multi": index.multi,
        "outdated": index.outdated,
        "query": index_query(index),
        "ready": state.ready,
    }
    if not state.ready:
        status["progress"] = state.progress
    if state.problem:
        status["problem"] = state.problem
    if (carried := carried_fields(index)) is not None:
        status["include"] = carried
    return status


def _refuse_expiry(runtime: Runtime, info: TableInfo, name: str) -> None:
    """Raise where an index says when documents expire, which must not end by the way."""
    expire = runtime.current(info).settings.expire
    if expire is not None and expire.index == name:
        raise op_failed(
            f"Index `{name}` says when documents of table `{info.database}.{info.name}` expire. Change `expire` in the "
            "table's configuration first, to another index or to null."
        )


def _refuse_primary_key(info: TableInfo, name: str) -> None:
    if name == info.primary_key:
        raise logic_error(f"Index name conflict: `{name}` is the name of the primary key.")
