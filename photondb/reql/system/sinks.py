"""The system table `sinks`: where the changes of tables are sent, and how far that is."""

from __future__ import annotations

import json
import uuid
from typing import Any
from urllib.parse import urlsplit

from photondb.api.catalogue import TableInfo
from photondb.api.feed_records import SINK_STATES_TABLE, SINKS_TABLE, SinkRecord, SinkState
from photondb.bus.subjects import check_subject
from photondb.datum.text import print_datum
from photondb.hidden_table import HiddenTable
from photondb.reql.configuration import IdentifierFormat
from photondb.reql.errors import ReqlError, logic_error
from photondb.reql.function import Func
from photondb.reql.runtime import Runtime
from photondb.reql.stored_functions import is_binary, read_index_binary, require_deterministic, stored_term
from photondb.reql.suspend import wait
from photondb.reql.system.configuration import user_databases, user_tables
from photondb.reql.system.objects import Fields
from photondb.reql.system_tables import Change, Row, system_table

WRONG_FORMAT = "The change you're trying to make to `rethinkdb.sinks` has the wrong format. "

_SCHEMES = {"webhook": ("http", "https"), "jetstream": ("nats", "tls")}


def _records(runtime: Runtime) -> HiddenTable[SinkRecord]:
    return HiddenTable(runtime.storage, SINKS_TABLE, SinkRecord)


def _states(runtime: Runtime) -> HiddenTable[SinkState]:
    return HiddenTable(runtime.storage, SINK_STATES_TABLE, SinkState)


@system_table("sinks")
def sinks(runtime: Runtime, identifiers: IdentifierFormat) -> list[Row]:
    """One row for each sink; `secret` tells whether it has one."""
    states = {state.id: state for state in wait(_states(runtime).all())}
    tables = {info.uuid: info for info in user_tables(runtime)}
    databases = {info.name: info.uuid for info in user_databases(runtime)}
    rows = []
    for record in wait(_records(runtime).all()):
        info, state = tables.get(record.table), states.get(record.state)
        row: Row = {
            "id": record.id,
            "db": None if info is None else info.database if identifiers == "name" else databases[info.database],
            "table": None if info is None else info.name if identifiers == "name" else info.uuid,
            "kind": record.kind,
            "url": record.url,
            "secret": record.secret != "",
            "filter": record.filter or None,
            "enabled": record.enabled,
            "status": None if state is None else _status(runtime, info, state),
        }
        if record.kind == "jetstream":
            row["subject"] = record.subject
        rows.append(row)
    return rows


def _status(runtime: Runtime, info: TableInfo | None, state: SinkState) -> Row:
    behind = None
    if info is not None:
        ends = runtime.log_position(info)
        positions = state.position.copy()
        runtime.current(info).add_logs(positions)
        behind = sum(max(0, end - at) for end, at in zip(ends, positions, strict=False))
    return {
        "position": state.position,
        "behind": behind,
        "delivered": state.delivered,
        "failures": state.failures,
        "last_error": state.last_error,
    }


@sinks.writer
def write_sink(runtime: Runtime, change: Change) -> Row | None:
    """Make, change or delete a sink. It begins with what is committed after it was made."""
    old = None if change.old is None else wait(_records(runtime).get(change.old["id"]))
    if change.new is None:
        if old is not None:
            wait(_records(runtime).delete(old.id))
            wait(_states(runtime).delete(old.state))
        return None
    record = _read(runtime, change, old)
    if old is None or old.state != record.state:
        info = next(info for info in user_tables(runtime) if info.uuid == record.table)
        wait(_states(runtime).put(SinkState(record.state, runtime.log_position(info))))
    wait(_records(runtime).put(record))
    if old is not None and old.state != record.state:
        wait(_states(runtime).delete(old.state))
    return next(row for row in sinks.rows(runtime, change.identifiers) if row["id"] == record.id)


def _read(runtime: Runtime, change: Change, old: SinkRecord | None) -> SinkRecord:
    """The sink that a row describes. Raises for what is none."""
    assert change.new is not None
    fields = Fields(change.new, WRONG_FORMAT.format("sinks"))
    id = _text(fields, "id")
    info = _table(runtime, fields, change.identifiers)
    kind = fields.take_word("kind", "webhook", "jetstream")
    url = _text(fields, "url")
    try:
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES[kind] or not parts.hostname or parts.port == 0:
            raise ValueError
    except ValueError:
        schemes = " or ".join(_SCHEMES[kind])
        raise fields.fail(f"In `url`: Expected a URL of the scheme {schemes}, got: {print_datum(url)}") from None
    record = SinkRecord(
        id=id,
        state=str(uuid.uuid4()) if old is None or old.table != info.uuid else old.state,
        table=info.uuid,
        kind="webhook" if kind == "webhook" else "jetstream",
        url=url,
        subject=_subject(fields) if kind == "jetstream" else "",
        secret=_secret(fields, old),
        filter=_filter(fields),
        enabled=_flag(fields, "enabled"),
    )
    if "status" in fields:
        fields.take("status")  # which is only shown
    fields.finish()
    runtime.require("read", info.database, info)
    runtime.require("connect")
    return record


def _text(fields: Fields, name: str) -> str:
    value = fields.take(name)
    if type(value) is not str or not value:
        raise fields.fail(f"In `{name}`: Expected a string that is not empty, got: {print_datum(value)}")
    return value


def _flag(fields: Fields, name: str) -> bool:
    value = fields.take(name) if name in fields else True
    if type(value) is not bool:
        raise fields.fail(f"In `{name}`: Expected a boolean, got: {print_datum(value)}")
    return value


def _table(runtime: Runtime, fields: Fields, identifiers: IdentifierFormat) -> TableInfo:
    database, table = _text(fields, "db"), _text(fields, "table")
    uuids = {info.name: info.uuid for info in user_databases(runtime)}
    for info in user_tables(runtime):
        by_name = identifiers == "name"
        if (database, table) == ((info.database, info.name) if by_name else (uuids[info.database], info.uuid)):
            return info
    raise fields.fail(f"Table `{database}.{table}` does not exist.")


def _subject(fields: Fields) -> str:
    subject = _text(fields, "subject")
    try:
        check_subject(subject)
    except ValueError:
        raise fields.fail(f"In `subject`: Expected words joined by dots, got: {print_datum(subject)}") from None
    return subject


def _secret(fields: Fields, old: SinkRecord | None) -> str:
    """The secret; True, as which it is shown, leaves it as it was."""
    value = fields.take("secret") if "secret" in fields else None
    if value is True and old is not None and old.secret:
        return old.secret
    if value is None or value is False:
        return ""
    if type(value) is not str:
        raise fields.fail("In `secret`: Expected a string.")
    return value


def _filter(fields: Fields) -> str:
    """The filter as the JSON of its wire term."""
    value = fields.take("filter") if "filter" in fields else None
    if value is None:
        return ""
    func = _function(fields, value)
    require_deterministic(func, "Filter")
    if not func.pushable:
        raise logic_error("The filter of a sink may not read tables.")
    return json.dumps(stored_term(func), separators=(",", ":"))


def _function(fields: Fields, value: Any) -> Func:
    if is_binary(value):
        return read_index_binary(value)[0]
    problem = "In `filter`: Expected a function, as the JSON of its term or as the binary of an index"
    if type(value) is not str:
        raise fields.fail(f"{problem}, got: {print_datum(value)}")
    try:
        return Func.from_wire(json.loads(value))
    except (ValueError, TypeError, IndexError, KeyError, ReqlError) as error:
        raise fields.fail(f"{problem} ({error}).") from None
