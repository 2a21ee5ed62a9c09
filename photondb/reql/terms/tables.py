"""Tables: naming, making, dropping and listing them."""

from __future__ import annotations

from typing import Annotated, Any, cast

from photondb.api.catalogue import CreateTable, DropTable
from photondb.reql import system_tables
from photondb.reql.configuration import change_of, table_config
from photondb.reql.effects import Effects
from photondb.reql.errors import logic_error
from photondb.reql.names import SYSTEM_DATABASE, check_name
from photondb.reql.parameters import DatabaseValue, Datum, Durability, Kind, Runtime
from photondb.reql.placement import read_placement, with_warnings
from photondb.reql.registry import term
from photondb.reql.values import TableSlice
from photondb.reql.wire import Term

TableName = Annotated[str, Kind("table name", lambda value: check_name(value, "Table"))]

IDENTIFIER_FORMATS = frozenset({"name", "uuid"})
READ_MODES = frozenset({"majority", "single", "outdated", "_debug_direct"})


@term(Term.TABLE, effects=Effects.READS, implied_database=True)
def table(
    runtime: Runtime,
    database: DatabaseValue,
    name: TableName,
    *,
    read_mode: str = "single",
    identifier_format: str = "name",
    use_outdated: Datum = ...,
) -> TableSlice:
    """The table of that name. `identifier_format` ("name" or "uuid") is how system tables name things."""
    if use_outdated is not ...:
        raise logic_error("The `use_outdated` optarg is no longer supported.  Use the `read_mode` optarg instead.")
    if read_mode not in READ_MODES:
        raise logic_error(f'Read mode `{read_mode}` unrecognized (options are "majority", "single", and "outdated").')
    if identifier_format not in IDENTIFIER_FORMATS:
        raise logic_error(f'Identifier format `{identifier_format}` unrecognized (options are "name" and "uuid").')
    info = runtime.table(database.name, name, "uuid" if identifier_format == "uuid" else "name")
    return TableSlice(info, read_mode=read_mode)


@term(Term.TABLE_CREATE, effects=Effects.WRITES, implied_database=True)
def table_create(
    runtime: Runtime,
    database: DatabaseValue,
    name: TableName,
    *,
    primary_key: str = "id",
    durability: Durability = None,
    shards: int = ...,  # type: ignore[assignment]
    replicas: Datum = ...,
    nonvoting_replica_tags: Datum = ...,
    primary_replica_tag: str | None = None,
) -> dict[str, Any]:
    """Make a table."""
    if cast("object", shards) is ...:
        shards = runtime.service.default_shards
    placement = read_placement(shards, replicas, nonvoting_replica_tags, primary_replica_tag)
    system_tables.refuse(database.name, "you can't create new tables in it.")
    runtime.require("config", database.name)
    servers = len(runtime.service.catalogue.usable_nodes)
    placement.check(servers)
    change = CreateTable(database.name, name, primary_key, durability or "hard", placement.shards)
    created = runtime.change_catalogue(change).tables[database.name, name]
    made = {"config_changes": [change_of(None, table_config(runtime, created))], "tables_created": 1}
    return with_warnings(made, placement.warnings(servers))


@term(Term.TABLE_DROP, effects=Effects.WRITES, implied_database=True)
def table_drop(runtime: Runtime, database: DatabaseValue, name: TableName) -> dict[str, Any]:
    """Drop a table with all that is in it."""
    system_tables.refuse(database.name, "you can't drop tables in it.")
    dropped = runtime.table(database.name, name)
    runtime.require("config", database.name, dropped)
    config = table_config(runtime, dropped)
    runtime.change_catalogue(DropTable(database.name, name))
    return {"config_changes": [change_of(config, None)], "tables_dropped": 1}


@term(Term.TABLE_LIST, effects=Effects.READS, implied_database=True)
def table_list(runtime: Runtime, database: DatabaseValue) -> list[str]:
    """The names of the tables of a database, in order."""
    if database.name == SYSTEM_DATABASE:
        return system_tables.visible_names()
    return [info.name for info in runtime.service.catalogue.tables_of(database.name)]
