"""Databases: naming, making, dropping and listing them."""

from __future__ import annotations

from typing import Annotated, Any

from photondb.api.catalogue import CreateDatabase, DropDatabase
from photondb.reql import system_tables
from photondb.reql.configuration import change_of, database_config
from photondb.reql.effects import Effects
from photondb.reql.names import SYSTEM_DATABASE, check_name
from photondb.reql.parameters import Kind, Runtime
from photondb.reql.registry import term
from photondb.reql.values import Database
from photondb.reql.wire import Term

DatabaseName = Annotated[str, Kind("database name", lambda value: check_name(value, "Database"))]


@term(Term.DB, effects=Effects.READS)
def db(runtime: Runtime, name: DatabaseName) -> Database:
    """The database of that name."""
    return runtime.database_value(name)


@term(Term.DB_CREATE, effects=Effects.WRITES)
def db_create(runtime: Runtime, name: DatabaseName) -> dict[str, Any]:
    """Make a database."""
    runtime.require("config")
    created = runtime.change_catalogue(CreateDatabase(name)).databases[name]
    return {"config_changes": [change_of(None, database_config(created))], "dbs_created": 1}


@term(Term.DB_DROP, effects=Effects.WRITES)
def db_drop(runtime: Runtime, name: DatabaseName) -> dict[str, Any]:
    """Drop a database with all of its tables."""
    system_tables.refuse(name, "you can't delete it.")
    dropped = runtime.database(name)
    tables = runtime.service.catalogue.tables_of(name)
    runtime.require("config", name)
    for table in tables:
        runtime.require("config", name, table)
    runtime.change_catalogue(DropDatabase(name))
    return {
        "config_changes": [change_of(database_config(dropped), None)],
        "dbs_dropped": 1,
        "tables_dropped": len(tables),
    }


@term(Term.DB_LIST, effects=Effects.READS)
def db_list(runtime: Runtime) -> list[str]:
    """The names of all databases, in order; the system database is always among them."""
    return sorted({*runtime.service.catalogue.databases, SYSTEM_DATABASE})
