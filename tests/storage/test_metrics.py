"""What storage tells of its tables: as many by name as there may be, and all others together."""

from __future__ import annotations

import msgspec

from photondb.api.catalogue import TableInfo
from photondb.telemetry import catalogue
from photondb.telemetry.scrape import Scrape
from services.storage.log import Position
from services.storage.metrics import TableMetrics
from services.storage.tables import Table
from tests.storage.conftest import Table as LiveTable


async def test_there_are_never_more_series_than_may_be(table: LiveTable) -> None:
    info = next(iter(table.storage._tables.values())).info
    tables = [_table(info, number) for number in range(5)]
    metrics = TableMetrics(max_tables=2)

    def reads() -> dict[str, float]:
        scrape = Scrape()
        metrics.collect(tables, scrape)
        return {name: value for (_, name), value in scrape.numbers.get(catalogue.TABLE_READS, {}).items()}

    assert reads() == {}, "what was never used is not told of"
    for number, used in enumerate(tables):
        used.reads = 10**number
    assert reads() == {"t0": 1, "t1": 10, "other": 11_100}
    tables[4].reads += 1
    assert reads() == {"t0": 1, "t1": 10, "other": 11_101}
    del tables[4]
    assert reads() == {"t0": 1, "t1": 10, "other": 11_101}, "counters do not go back when a table is dropped"
    tables[0] = _table(info, 5)
    tables[0].reads = 7
    assert reads() == {"t1": 10, "t5": 7, "other": 11_101}, "a new table has its place; others stay where they are"


def _table(info: TableInfo, number: int) -> Table:
    return Table(msgspec.structs.replace(info, id=100 + number, name=f"t{number}"), Position(), 1)
