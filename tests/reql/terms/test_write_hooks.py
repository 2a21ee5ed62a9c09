"""Write hooks: `set_write_hook`, `get_write_hook`, and what they do to writes."""

from __future__ import annotations

from typing import Any

import pytest
from rethinkdb import r

from photondb.reql.errors import ErrorKind, ReqlError
from tests.reql.database import RunningDatabase

T = r.table("t")


@pytest.fixture(autouse=True)
def _empty(database: RunningDatabase) -> None:
    database.clear()
    database.run(r.table_create("t"))


def test_a_hook_is_set_replaced_shown_and_removed(database: RunningDatabase) -> None:
    assert database.run(T.get_write_hook()) is None
    assert database.run(T.set_write_hook(lambda context, old, new: new)) == {"created": 1}
    assert database.run(T.set_write_hook(lambda context, old, new: new.merge({"a": 1}))) == {"replaced": 1}
    hook = database.run(T.get_write_hook())
    assert hook["query"] == 'setWriteHook(function(var1, var2, var3) { return var3.merge({"a": 1}); })'
    assert hook["function"]["$reql_type$"] == "BINARY"
    assert database.run(T.config()["write_hook"]) == hook
    assert database.run(T.set_write_hook(None)) == {"deleted": 1}
    assert database.run(T.get_write_hook()) is None


def test_a_hook_sees_every_write_and_may_change_it(database: RunningDatabase) -> None:
    database.run(
        T.set_write_hook(
            lambda context, old, new: r.branch(
                new.eq(None),
                None,
                new.merge({"key": context["primary_key"], "was": old.default({})["n"].default(None)}),
            )
        )
    )
    database.run(T.insert({"id": 1, "n": 1}))
    assert database.run(T.get(1)) == {"id": 1, "n": 1, "key": 1, "was": None}
    database.run(T.get(1).update({"n": 2}))
    assert database.run(T.get(1)) == {"id": 1, "n": 2, "key": 1, "was": 1}
    database.run(T.insert({"id": 2}, ignore_write_hook=True))
    assert database.run(T.get(2)) == {"id": 2}
    assert database.run(T.get(1).delete())["deleted"] == 1


def test_a_hook_is_made_of_the_binary_of_another(database: RunningDatabase) -> None:
    database.run(r.table_create("other"))
    database.run(T.set_write_hook(lambda context, old, new: new.merge({"a": 1})))
    assert database.run(r.table("other").set_write_hook(T.get_write_hook()["function"])) == {"created": 1}
    database.run(r.table("other").insert({"id": 1}))
    assert database.run(r.table("other").get(1)) == {"id": 1, "a": 1}


@pytest.mark.parametrize(
    ("hook", "error"),
    [
        (
            lambda context, old, new: None,
            "A write hook function must not turn a replace/insert into a deletion.",
        ),
        (lambda context, old, new: r.error("no"), "Error in write hook: no"),
    ],
)
def test_a_hook_that_fails_lets_nothing_be_written(database: RunningDatabase, hook: Any, error: str) -> None:
    database.run(T.set_write_hook(hook))
    assert database.run(T.insert({"id": 1}))["first_error"] == error
    assert database.run(T.count()) == 0


@pytest.mark.parametrize(
    ("function", "kind", "message"),
    [
        (lambda context: 1, ErrorKind.LOGIC, "Write hook functions must expect 3 arguments."),
        (
            lambda context, old, new: new.merge({"r": r.random()}),
            ErrorKind.LOGIC,
            "Could not prove function deterministic.  Write hook functions must be deterministic.",
        ),
        (
            lambda context, old, new: new.merge({"at": r.now()}),
            ErrorKind.LOGIC,
            "Could not prove function deterministic.  Write hook functions must be deterministic.",
        ),
        (1, ErrorKind.LOGIC, "Expected type FUNCTION but found DATUM:\n1"),
        (
            r.binary(b"nonsense"),
            ErrorKind.LOGIC,
            "Cannot create a write hook except from a reql_write_hook_function returned from `get_write_hook`.",
        ),
        (
            r.binary(b"$reql_write_hook_function$[69]"),
            ErrorKind.LOGIC,
            None,
        ),
    ],
)
def test_what_is_no_hook_is_refused(
    database: RunningDatabase, function: Any, kind: ErrorKind, message: str | None
) -> None:
    with pytest.raises(ReqlError) as caught:
        database.run(T.set_write_hook(function))
    assert caught.value.kind == kind
    if message is not None:
        assert caught.value.message == message
    assert database.run(T.get_write_hook()) is None


def test_system_tables_have_no_hooks(database: RunningDatabase) -> None:
    with pytest.raises(ReqlError, match="you can't set a write hook on the tables in it"):
        database.run(r.db("rethinkdb").table("users").set_write_hook(lambda context, old, new: new))
