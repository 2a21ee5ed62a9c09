"""The tables of the system database. Importing this package registers all of them."""

from photondb.reql.system import (
    accounts,
    configuration,
    feed_groups,
    logs,
    scratch,
    sinks,
    statistics,
    status,
    transactions,
)

__all__ = [
    "accounts",
    "configuration",
    "feed_groups",
    "logs",
    "scratch",
    "sinks",
    "statistics",
    "status",
    "transactions",
]
