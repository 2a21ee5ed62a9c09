"""Looking after databases and tables: `config`, `status`, `wait`, `reconfigure`, `rebalance`, and `grant`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import photondb.reql.system  # noqa: F401  # registers the system tables
from photondb.api.auth import Scope
from photondb.api.catalogue import SplitTable, TableInfo
from photondb.reql import system_tables
from photondb.reql.configuration import change_of, is_reachable, table_config, table_status
from photondb.reql.effects import Effects
from photondb.reql.errors import logic_error, op_failed
from photondb.reql.names import SYSTEM_DATABASE
from photondb.reql.parameters import Datum, Runtime, Table, Value, as_string
from photondb.reql.placement import read_placement, with_warnings
from photondb.reql.registry import term
from photondb.reql.suspend import wait as wait_for_it
from photondb.reql.system.accounts import grant as change_permissions
from photondb.reql.terms.indexes import FIRST_POLL_SECONDS, LONGEST_POLL_SECONDS
from photondb.reql.values import Database, SingleSelection, as_datum, expect_table
from photondb.reql.wire import Term

READY_FOR = ("ready_for_outdated_reads", "ready_for_reads", "ready_for_writes", "all_replicas_ready")
EMERGENCY_REPAIRS = frozenset({"_debug_recommit", "unsafe_rollback", "unsafe_rollback_or_erase"})


@term(Term.CONFIG, effects=Effects.READS)
def config(runtime: Runtime, target: Value) -> SingleSelection:
    """The configuration of a table or a database: a row of a system table, which can be written."""
    if type(target) is Database:
        system_tables.refuse(target.name, "you can't configure it.")
        runtime.require("config", target.name)
        return _row(runtime, "db_config", target.uuid)
    info = expect_table(target).info
    system_tables.refuse(info.database, "you can't configure the tables in it.")
    runtime.require("config", info.database, info)
    return _row(runtime, "table_config", info.uuid)


@term(Term.STATUS, effects=Effects.READS)
def status(runtime: Runtime, table: Table) -> SingleSelection:
    """Whether a table can be used, and who keeps it."""
    system_tables.refuse(table.info.database, "the system tables in it don't have meaningful status information.")
    return _row(runtime, "table_status", table.info.uuid)


@term(Term.WAIT, effects=Effects.READS)
def wait(
    runtime: Runtime, target: Value = ..., *, wait_for: str = "all_replicas_ready", timeout: int | None = None
) -> dict[str, Any]:
    """Wait until a table, or all tables of a database, can be used: until the storage nodes that they are on can be
    reached. A table has each of its parts once, so it is ready for everything or for nothing; but only one that is not
    being divided anew has all replicas ready.

    With `timeout` it is an error when that takes longer than so many seconds.
    """
    tables = _tables_of(runtime, "wait", target)
    if wait_for not in READY_FOR:
        choices = ", ".join(f"'{word}'" for word in READY_FOR[:-1])
        raise logic_error(
            f"Unknown table readiness state: '{wait_for}', must be one of {choices}, or '{READY_FOR[-1]}'"
        )
    system_tables.refuse(
        _database_name(target), "the system tables in it are always available and don't need to be waited on."
    )
    latest = None if timeout is None else time.monotonic() + timeout
    poll_seconds = FIRST_POLL_SECONDS
    runtime.untimed = True
    while True:
        down = runtime.unreachable_nodes()
        ready = all(is_reachable(info, down) for info in tables)
        if ready and not (wait_for == READY_FOR[-1] and _are_divided(runtime, tables)):
            runtime.untimed = False
            return {"ready": len(tables)}
        if latest is not None and time.monotonic() >= latest:
            raise op_failed("Timed out while waiting for tables.")
        wait_for_it(asyncio.sleep(poll_seconds))
        poll_seconds = min(2 * poll_seconds, LONGEST_POLL_SECONDS)
        runtime.checkpoint()
        wait_for_it(runtime.service.refresh_catalogue())


def _are_divided(runtime: Runtime, tables: Sequence[TableInfo]) -> bool:
    """Whether any of these tables is being divided anew."""
    uuids = {info.uuid for info in tables}
    return any(copy.uuid in uuids for copy in runtime.service.catalogue.copies)


@term(Term.RECONFIGURE, effects=Effects.WRITES)
def reconfigure(
    runtime: Runtime,
    target: Value = ...,
    *,
    shards: int = ...,  # type: ignore[assignment]
    replicas: Datum = ...,
    nonvoting_replica_tags: Datum = ...,
    primary_replica_tag: str | None = None,
    dry_run: bool = False,
    emergency_repair: Datum = None,
) -> dict[str, Any]:
    """Divide tables into so many shards: on one storage node ranges of primary keys with equally many documents, on
    several a part on each of as many nodes. Parts are moved while the table is used; `wait` tells when they are."""
    tables = _tables_of(runtime, "reconfigure", target)
    given = (shards, replicas, nonvoting_replica_tags, ... if primary_replica_tag is None else primary_replica_tag)
    if emergency_repair is not None:
        _refuse_repair(target, emergency_repair, any(option is not ... for option in given))
    for name, option in (("shards", shards), ("replicas", replicas)):
        if option is ...:
            raise logic_error(f"Missing required argument `{name}`.")
    placement = read_placement(shards, replicas, nonvoting_replica_tags, primary_replica_tag)
    system_tables.refuse(_database_name(target), "you can't configure the tables in it.")
    for info in tables:
        runtime.require("config", info.database, info)
    servers = len(runtime.service.catalogue.usable_nodes)
    placement.check(servers)
    if not tables:
        return {}
    warnings = placement.warnings(servers, spread=any(info.is_spread for info in tables))
    if dry_run:
        changes = [
            change_of(table_config(runtime, info), table_config(runtime, info, shards=shards)) for info in tables
        ]
        return with_warnings({"reconfigured": 0, "config_changes": changes}, warnings)
    config_changes, status_changes = _split(runtime, tables, shards)
    done = {"reconfigured": len(tables), "config_changes": config_changes, "status_changes": status_changes}
    return with_warnings(done, warnings)


@term(Term.REBALANCE, effects=Effects.WRITES)
def rebalance(runtime: Runtime, target: Value = ...) -> dict[str, Any]:
    """Divide tables anew into as many shards as they have, with equally many documents. One with fewer documents than
    shards is left as it is, and not counted."""
    tables = _tables_of(runtime, "rebalance", target)
    system_tables.refuse(_database_name(target), "you can't rebalance the tables in it.")
    for info in tables:
        runtime.require("config", info.database, info)
    if not tables:
        return {}
    enough = sum(runtime.table_stats(info).rows >= info.shards for info in tables)
    _, status_changes = _split(runtime, tables, None)
    return {"rebalanced": enough, "status_changes": status_changes}


def _split(runtime: Runtime, tables: Sequence[TableInfo], shards: int | None) -> tuple[list[Any], list[Any]]:
    """Divide tables into shards, and tell what that changes of their configurations and of how they are."""

    def look() -> tuple[list[Any], list[Any]]:
        down = runtime.unreachable_nodes()
        infos = [runtime.current(info) for info in tables]
        return [table_config(runtime, info) for info in infos], [table_status(runtime, info, down) for info in infos]

    before = look()
    for info in tables:
        runtime.change_catalogue(SplitTable(info.database, info.name, shards))
    configs, statuses = [list(map(change_of, old, new)) for old, new in zip(before, look(), strict=True)]
    return configs, statuses


@term(Term.GRANT, effects=Effects.WRITES)
def grant(
    runtime: Runtime, target_or_user: Value, user_or_permissions: Value, permissions: Datum = ...
) -> dict[str, Any]:
    """Change what a user may do: `grant(user, permissions)`, or the same after a database or a table."""
    scope: Scope = ()
    if permissions is ...:
        user, permissions = as_string(target_or_user), as_datum(user_or_permissions)
    else:
        user = as_string(user_or_permissions)
        if type(target_or_user) is Database:
            scope = (target_or_user.uuid,)
        else:
            info = expect_table(target_or_user).info
            scope = (runtime.database(info.database).uuid, info.uuid)
    changed = change_permissions(runtime, user, scope, permissions)
    return {"granted": 1, "permissions_changes": [change_of(changed.old, changed.new)]}


def _row(runtime: Runtime, table: str, key: str) -> SingleSelection:
    """A row of a system table. To read it takes no permission on that table, to write it does, as in RethinkDB."""
    info = system_tables.find(table, "name")
    assert info is not None
    return SingleSelection(runtime, info, key, system_tables.read_row(runtime, info, key))


def _database_name(target: Any) -> str:
    return target.name if type(target) is Database else expect_table(target).info.database


def _tables_of(runtime: Runtime, name: str, target: Any) -> list[TableInfo]:
    """The tables that a term on a table or a database is about."""
    if target is ...:
        raise logic_error(f"`{name}` can only be called on a table or database.")
    if type(target) is Database:
        return [] if target.name == SYSTEM_DATABASE else runtime.service.catalogue.tables_of(target.name)
    return [runtime.current(expect_table(target).info)]


def _refuse_repair(target: Any, mode: Any, with_options: bool) -> None:
    """A table on one node never needs an emergency repair."""
    if as_string(mode) not in EMERGENCY_REPAIRS:
        raise logic_error('`emergency_repair` should be "unsafe_rollback" or "unsafe_rollback_or_erase"')
    if with_options:
        raise logic_error("In emergency repair mode, you can't specify shards, replicas, etc.")
    if type(target) is Database:
        raise logic_error(
            "Can't emergency repair an entire database at once; instead you should run `reconfigure()` on each table "
            "individually."
        )
    raise op_failed("This table doesn't need to be repaired.")
