"""The system tables `db_config` and `table_config`. Writing to them makes, changes and drops databases and tables."""

from __future__ import annotations

from typing import Any

from photondb.api.catalogue import (
    AlterTable,
    CatalogueChange,
    CreateDatabase,
    CreateTable,
    DatabaseInfo,
    DropDatabase,
    DropTable,
    RenameDatabase,
    SplitTable,
    TableInfo,
)
from photondb.datum.order import equal
from photondb.datum.text import print_datum
from photondb.reql.configuration import IdentifierFormat, database_config, servers, servers_of_shards, table_config
from photondb.reql.errors import op_failed
from photondb.reql.names import SYSTEM_DATABASE
from photondb.reql.placement import MAX_SHARDS
from photondb.reql.retention import take_settings
from photondb.reql.runtime import Runtime
from photondb.reql.system.objects import Fields, is_uuid
from photondb.reql.system_tables import Change, Row, system_table

WRONG_FORMAT = "The change you're trying to make to `rethinkdb.{}` has the wrong format. "


def user_databases(runtime: Runtime) -> list[DatabaseInfo]:
    """The databases, without the system database."""
    databases = runtime.service.catalogue.databases
    return [databases[name] for name in sorted(databases) if name != SYSTEM_DATABASE]


def user_tables(runtime: Runtime) -> list[TableInfo]:
    """The tables of all databases but the system database."""
    tables = runtime.service.catalogue.tables
    return [tables[key] for key in sorted(tables) if key[0] != SYSTEM_DATABASE]


@system_table("db_config")
def databases(runtime: Runtime, identifiers: IdentifierFormat) -> list[Row]:
    """One row for each database."""
    return [database_config(info) for info in user_databases(runtime)]


@databases.writer
def write_database(runtime: Runtime, change: Change) -> Row | None:
    """Make, rename or drop a database."""
    old, new = change.old, change.new
    runtime.require("config", None if old is None else old["name"])
    if new is None:
        assert old is not None
        for table in runtime.service.catalogue.tables_of(old["name"]):
            runtime.require("config", old["name"], table)
        runtime.change_catalogue(DropDatabase(old["name"]))
        return None
    fields = Fields(new, WRONG_FORMAT.format("db_config"))
    name = fields.take_name("name", "db name")
    fields.take("id")
    fields.finish()
    if old is not None:
        if name != old["name"]:
            runtime.change_catalogue(RenameDatabase(old["name"], name))
        return new
    if not change.generated:
        raise op_failed(
            "If you want to create a new table by inserting into `rethinkdb.db_config`, you must use an auto-generated "
            "primary key."
        )
    created = runtime.change_catalogue(CreateDatabase(name)).databases[name]
    return database_config(created)


@system_table("table_config")
def tables(runtime: Runtime, identifiers: IdentifierFormat) -> list[Row]:
    """One row for each table."""
    return [table_config(runtime, info, identifiers) for info in user_tables(runtime)]


@tables.writer
def write_table(runtime: Runtime, change: Change) -> Row | None:
    """Make, change or drop a table."""
    if change.old is None:
        assert change.new is not None
        return _create_table(runtime, change.new, change)
    info = next(info for info in user_tables(runtime) if info.uuid == change.old["id"])
    runtime.require("config", info.database, info)
    if change.new is None:
        runtime.change_catalogue(DropTable(info.database, info.name))
        return None
    return _alter_table(runtime, info, change.old, change.new, change)


def _create_table(runtime: Runtime, new: Row, change: Change) -> Row:
    if not change.generated:
        raise op_failed(
            "There is no existing table with the given ID. To create a new table by inserting into "
            "`rethinkdb.table_config`, you must let the database generate the primary key automatically."
        )
    fields = Fields(new, WRONG_FORMAT.format("table_config"))
    name = fields.take_name("name", "table name")
    database = _database(runtime, fields, change.identifiers)
    fields.take("id")
    if "indexes" in fields and fields.take("indexes"):
        raise fields.fail("The `indexes` field is read-only and can't be used to create indexes.")
    if "write_hook" in fields and fields.take("write_hook") is not None:
        raise fields.fail(
            "The `write_hook` field is read-only and can't be used to create or drop a write hook function."
        )
    primary_key = fields.take("primary_key") if "primary_key" in fields else "id"
    if type(primary_key) is not str:
        raise fields.fail(f"In `primary_key`: Expected a string; got {print_datum(primary_key)}")
    durability = fields.take_word("durability", "soft", "hard") if "durability" in fields else "hard"
    runtime.require("config", database)
    given = "shards" in fields
    shards = _take_shards(runtime, fields, change.identifiers) if given else runtime.service.default_shards
    if "write_acks" in fields:
        _check_write_acks(fields)
    fields.finish()
    created: CatalogueChange = CreateTable(
        database, name, primary_key, "soft" if durability == "soft" else "hard", shards
    )
    return table_config(runtime, runtime.change_catalogue(created).tables[database, name], change.identifiers)


def _alter_table(runtime: Runtime, info: TableInfo, old: Row, new: Row, change: Change) -> Row:
    fields = Fields(new, WRONG_FORMAT.format("table_config"))
    name = fields.take_name("name", "table name")
    database = _database(runtime, fields, change.identifiers)
    fields.take("id")
    indexes = fields.take("indexes")
    if type(indexes) is not list or not equal(_sorted(indexes), old["indexes"]):
        raise op_failed("The `indexes` field is read-only and can't be used to create or drop indexes.")
    if fields.take("primary_key") != old["primary_key"]:
        raise op_failed("It's illegal to change a table's primary key")
    shards = _take_shards(runtime, fields, change.identifiers, info)
    _check_write_acks(fields)
    durability = fields.take_word("durability", "soft", "hard")
    settings = take_settings(fields, info.indexes)
    if not equal(fields.take("write_hook"), old["write_hook"]):
        raise op_failed(
            "The `write_hook` field is read-only and can't be used to create or drop a write hook function."
        )
    fields.finish()
    if database != info.database:
        raise op_failed("A table can't be moved to another database.")
    runtime.change_catalogue(
        AlterTable(info.database, info.name, name, "soft" if durability == "soft" else "hard", settings=settings)
    )
    runtime.change_catalogue(SplitTable(info.database, name, shards))
    return new


def _sorted(names: list[Any]) -> list[Any]:
    return sorted(names) if all(type(name) is str for name in names) else names


def _database(runtime: Runtime, fields: Fields, identifiers: IdentifierFormat) -> str:
    """The name of the database that the field `db` names."""
    if identifiers == "name":
        return runtime.database(fields.take_name("db", "database name")).name
    uuid = fields.take("db")
    if not is_uuid(uuid):
        raise fields.fail(f"Expected a UUID; got {print_datum(uuid)}")
    for info in user_databases(runtime):
        if info.uuid == uuid:
            return info.name
    raise fields.fail(f"There is no database with UUID `{uuid}`.")


def _take_shards(runtime: Runtime, fields: Fields, identifiers: IdentifierFormat, info: TableInfo | None = None) -> int:
    """How many shards are asked for. Where they are to be cannot be chosen: those of a table that there is, `info`,
    stay where they are while they are as many, and others are placed by the system."""
    known = [server.identifier(identifiers) for server in servers(runtime)]
    kept = [] if info is None else servers_of_shards(runtime, info, identifiers)
    shards = fields.take("shards")
    if type(shards) is not list:
        raise fields.fail(f"In `shards`: Expected an array, got {print_datum(shards)}")
    if not shards:
        raise fields.fail("In `shards`: You must specify at least one shard.")
    for number, shard in enumerate(shards):
        if type(shard) is not dict:
            raise fields.fail(f"In `shards`: Expected an object; got {print_datum(shard)}")
        parts = Fields(shard, f"{WRONG_FORMAT.format('table_config')}In `shards`: ")
        replicas = parts.take("replicas")
        if not replicas:
            raise parts.fail("You must specify at least one replica for each shard.")
        primary = parts.take("primary_replica")
        for name in (*replicas, primary):
            if name not in known:
                raise parts.fail(f"Server `{name}` does not exist or is not connected.")
            if name != primary or (len(kept) == len(shards) and name != kept[number]):
                raise parts.fail(
                    "A shard is kept in one copy, on a server that cannot be chosen. For copies elsewhere there is "
                    "`photondb backup`."
                )
        if "nonvoting_replicas" in parts and parts.take("nonvoting_replicas"):
            raise parts.fail(f"The primary replica (`{primary}`) must not be a nonvoting replica.")
        parts.finish()
    if len(shards) > MAX_SHARDS:
        raise fields.fail(f"In `shards`: Maximum number of shards is {MAX_SHARDS}.")
    return len(shards)


def _check_write_acks(fields: Fields) -> None:
    if fields.take_word("write_acks", "single", "majority") == "single":
        raise fields.fail("In `write_acks`: With one replica, a single one is the majority already.")
