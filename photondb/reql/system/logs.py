"""The system table `logs`: the last records of this process's log."""

from __future__ import annotations

import datetime
import itertools
import logging
from collections import deque

from photondb.datum.time import make_time
from photondb.datum.types import normalise_number
from photondb.reql.configuration import IdentifierFormat, server_identifier
from photondb.reql.runtime import Runtime
from photondb.reql.system.status import STARTED
from photondb.reql.system_tables import Row, system_table

MAX_RECORDS = 1000

_LEVELS = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warn", logging.ERROR: "error"}


class RecentRecords(logging.Handler):
    """Keeps the last records of loggers, numbered."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.records: deque[tuple[int, logging.LogRecord]] = deque(maxlen=capacity)
        self._numbers = itertools.count()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record."""
        self.records.append((next(self._numbers), record))


RECENT = RecentRecords(MAX_RECORDS)
for _name in ("photondb", "services"):
    logging.getLogger(_name).addHandler(RECENT)


@system_table("logs")
def logs(runtime: Runtime, identifiers: IdentifierFormat) -> list[Row]:
    """One row for each record. Its id tells when it was written, to the nanosecond, of which the last three digits make
    it unique."""
    server = server_identifier(runtime, identifiers)
    rows = []
    for number, record in RECENT.records:
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        rows.append(
            {
                "id": [f"{moment:%Y-%m-%dT%H:%M:%S.%f}{number % 1000:03d}", runtime.service.server_id],
                "level": _LEVELS.get(record.levelno, "notice"),
                "message": record.getMessage(),
                "server": server,
                "timestamp": make_time(normalise_number(round(record.created, 6)), "+00:00"),
                "uptime": normalise_number(round(max(0.0, record.created - STARTED), 6)),
            }
        )
    return rows
