"""The system table `transactions`: inserting a row begins a transaction, and updating its `state` ends it."""

from __future__ import annotations

from typing import Any

from photondb.api.transactions import ISOLATIONS, TransactionInfo
from photondb.datum.order import equal
from photondb.datum.text import print_datum
from photondb.datum.time import make_time
from photondb.datum.types import normalise_number
from photondb.reql.configuration import IdentifierFormat
from photondb.reql.errors import op_failed
from photondb.reql.runtime import Runtime
from photondb.reql.suspend import wait
from photondb.reql.system.objects import Fields
from photondb.reql.system_tables import Change, Row, system_table

MAX_TIMEOUT_S = 4_000_000
"""No transaction's timeout can be so long. The limit that counts is storage's."""

WRONG_FORMAT = "A transaction cannot be begun like this. "


@system_table("transactions", personal=True)
def transactions(runtime: Runtime, identifiers: IdentifierFormat) -> list[Row]:
    """One row for each of the user's transactions (for `admin`: everybody's) that is open or has ended lately."""
    return list(map(_row, wait(runtime.storage.transactions(runtime.context))))


@transactions.finder
def find_transaction(runtime: Runtime, key: Any) -> Row | None:
    """One of those rows."""
    found = wait(runtime.storage.transactions(runtime.context, key)) if type(key) is str and key else ()
    return _row(found[0]) if found else None


def _row(info: TransactionInfo) -> Row:
    row: Row = {
        "id": info.id,
        "isolation": info.isolation,
        "read_only": info.read_only,
        "reads": info.reads,
        "started": make_time(normalise_number(round(info.started_us / 1_000_000, 3)), "+00:00"),
        "state": info.state,
        "timeout": normalise_number(info.timeout_ms / 1000),
        "user": info.user,
        "writes": info.writes,
    }
    if info.reason:
        row["reason"] = info.reason
    return row


@transactions.writer
def write_transaction(runtime: Runtime, change: Change) -> Row | None:
    """Begin a transaction, commit it, or abort it."""
    old, new = change.old, change.new
    if old is None:
        assert new is not None
        return _begin(runtime, new, change.generated)
    if new is None or new.get("state") == "abort":
        _refuse_other_changes(old, new)
        ended = _row(wait(runtime.storage.abort_transaction(runtime.context, old["id"])))
        return None if new is None else ended
    _refuse_other_changes(old, new)
    if new.get("state") == old["state"]:
        return old
    if new.get("state") != "commit":
        raise op_failed(
            f'In `state`: Expected "commit" or "abort", got: {print_datum(new["state"])}'
            if "state" in new
            else "Expected a field named `state`."
        )
    with runtime.service.turn(old["id"]):
        return _row(wait(runtime.storage.commit_transaction(runtime.context, old["id"])))


def _begin(runtime: Runtime, new: Row, generated: bool) -> Row:
    if not generated:
        raise op_failed(f"{WRONG_FORMAT}Its primary key must be generated.")
    fields = Fields(new, WRONG_FORMAT)
    fields.take("id")
    isolation = fields.take_word("isolation", *ISOLATIONS) if "isolation" in fields else ISOLATIONS[0]
    read_only = fields.take("read_only") if "read_only" in fields else False
    if type(read_only) is not bool:
        raise fields.fail(f"In `read_only`: Expected a boolean, got: {print_datum(read_only)}")
    timeout_ms = 0
    if "timeout" in fields:
        timeout_s: Any = fields.take("timeout")
        if type(timeout_s) not in (int, float) or not 0 < timeout_s < MAX_TIMEOUT_S:
            raise fields.fail(f"In `timeout`: Expected a number of seconds above 0, got: {print_datum(timeout_s)}")
        timeout_ms = max(1, round(timeout_s * 1000))
    fields.finish()
    level = ISOLATIONS[0] if isolation == ISOLATIONS[0] else ISOLATIONS[1]
    return _row(wait(runtime.storage.begin_transaction(runtime.context, new["id"], level, read_only, timeout_ms)))


def _refuse_other_changes(old: Row, new: Row | None) -> None:
    """Raise where anything but the state is to be changed."""
    if new is None:
        return
    for name in sorted({*old, *new} - {"state", "reads", "writes"}):
        if not equal(old.get(name), new.get(name)) or (name in old) != (name in new):
            raise op_failed(f"Only the `state` of a transaction can be changed, not `{name}`.")
