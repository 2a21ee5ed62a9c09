"""Write hooks: a function of a table that every document goes through before it is written."""

from __future__ import annotations

from typing import Any

from photondb.api.catalogue import AlterTable
from photondb.reql import system_tables
from photondb.reql.effects import Effects
from photondb.reql.errors import logic_error
from photondb.reql.function import Func
from photondb.reql.parameters import Runtime, Table, Value
from photondb.reql.registry import term
from photondb.reql.stored_functions import (
    is_binary,
    read_hook_binary,
    require_deterministic,
    stored_term,
    write_hook_datum,
)
from photondb.reql.values import wrong_type
from photondb.reql.wire import Term


@term(Term.SET_WRITE_HOOK, effects=Effects.WRITES)
def set_write_hook(runtime: Runtime, table: Table, function: Value) -> dict[str, Any]:
    """Set the write hook of a table: a function of (context, old, new), or one that `get_write_hook` gave; null removes
    it."""
    info = runtime.current(table.info)
    system_tables.refuse(info.database, "you can't set a write hook on the tables in it.")
    runtime.require("config", info.database, info)
    if function is None:
        hook: list[Any] = []
        outcome = "deleted"
    else:
        if is_binary(function):
            function = read_hook_binary(function)
        elif type(function) is not Func:
            raise wrong_type("FUNCTION", function)
        require_deterministic(function, "Write hook")
        if function.arity != 3:
            raise logic_error("Write hook functions must expect 3 arguments.")
        hook = stored_term(function)
        outcome = "created" if info.write_hook is None else "replaced"
    runtime.change_catalogue(AlterTable(info.database, info.name, write_hook=hook))
    return {outcome: 1}


@term(Term.GET_WRITE_HOOK, effects=Effects.READS)
def get_write_hook(runtime: Runtime, table: Table) -> dict[str, Any] | None:
    """The write hook of a table, as a binary and as text; null without one."""
    return write_hook_datum(runtime.current(table.info).write_hook)
