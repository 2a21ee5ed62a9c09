"""The system table `feed_groups`: the consumer groups of changefeeds, and how far they are."""

from __future__ import annotations

from photondb.api.feed_records import GROUPS_TABLE, GroupRecord
from photondb.hidden_table import HiddenTable
from photondb.reql.configuration import IdentifierFormat
from photondb.reql.errors import op_failed
from photondb.reql.runtime import Runtime
from photondb.reql.suspend import wait
from photondb.reql.system.configuration import user_databases, user_tables
from photondb.reql.system_tables import Change, Row, system_table


@system_table("feed_groups")
def feed_groups(runtime: Runtime, identifiers: IdentifierFormat) -> list[Row]:
    """One row for each group of a table that is still there; `behind` counts the changes of the table since the
    first one that is not acknowledged, whether they are the group's or not."""
    tables = {info.uuid: info for info in user_tables(runtime)}
    databases = {info.name: info.uuid for info in user_databases(runtime)}
    rows = []
    for record in wait(HiddenTable(runtime.storage, GROUPS_TABLE, GroupRecord).all()):
        info = tables.get(record.table)
        if info is None:
            continue
        by_name = identifiers == "name"
        ends = runtime.log_position(info)
        positions = [progress.position for progress in record.progress]
        runtime.current(info).add_logs(positions)
        rows.append(
            {
                "id": record.id,
                "db": info.database if by_name else databases[info.database],
                "table": info.name if by_name else info.uuid,
                "name": record.name,
                "behind": sum(max(0, end - at) for end, at in zip(ends, positions, strict=False)),
            }
        )
    return rows


@feed_groups.writer
def write_feed_group(runtime: Runtime, change: Change) -> Row | None:
    """Delete a group: a new one of that name begins with what is committed then. Its consumers get an error."""
    if change.new is not None or change.old is None:
        raise op_failed("A group is made by `changes` with the optional argument `group`; here it can only be deleted.")
    wait(HiddenTable(runtime.storage, GROUPS_TABLE, GroupRecord).delete(change.old["id"]))
    return None
