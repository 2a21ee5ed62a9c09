"""What stands around a running query, as far as its evaluation asks for it: the query service, and what it knows."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

from photondb.api.auth import AuthApi
from photondb.api.catalogue import Catalogue, CatalogueChange
from photondb.api.changefeed import ChangefeedApi
from photondb.api.context import CallContext
from photondb.api.query import Entrance
from photondb.api.storage import StorageApi
from photondb.api.storage_status import TableStatistics
from photondb.reql.memory import MemoryBudget
from photondb.reql.spilling.space import SpillSpace

Permission = Literal["read", "write", "config", "connect"]


class Permit(Protocol):
    """Raises a PERMISSION error unless the query's user has a permission: `read`, `write` or `config` on a table (the
    name of its database and the table's uuid), `config` on a database or on everything, `connect` for `r.http`."""

    def __call__(self, permission: Permission, database: str | None = None, table: str | None = None) -> None: ...

    async def renew(self) -> None:
        """Raise such an error unless the user still has all the permissions that the query has asked for."""
        ...


class PlanCounters(Protocol):
    """How often a query had a plan already, and how often one had to be made."""

    hits: int
    misses: int


class RememberedPermissions(Protocol):
    """What remembers for a moment who may do what."""

    def forget(self) -> None: ...


class KnownStatistics(Protocol):
    """What remembers for some seconds what storage knows of tables."""

    async def of(self, table: int) -> TableStatistics:
        """The statistics of a table. Raises TableGone."""
        ...


class Connection(Protocol):
    """A client connection and its queries that have had to wait, by token."""

    @property
    def running(self) -> Mapping[int, asyncio.Task[Any]]: ...


class ConnectionHolder(Protocol):
    """What knows client connections, by number, and where they come in."""

    @property
    def entrance(self) -> Entrance: ...

    @property
    def sessions(self) -> Mapping[int, Connection]: ...


class RunningQuery(Protocol):
    """A query that is being worked on, or has a cursor: when it was started (by the monotonic clock), its user, its
    text, and the address of its client, if that is known."""

    started: float

    @property
    def id(self) -> str: ...

    @property
    def user(self) -> str: ...

    @property
    def client(self) -> str: ...

    @property
    def query(self) -> str: ...

    def interrupt(self) -> None:
        """End it with an error."""
        ...


class Closable(Protocol):
    """A cursor or a feed."""

    async def close(self) -> None: ...


class Surroundings(Protocol):
    """What the service around the evaluator provides; one for all queries. `server_id` and `server_name` are how the
    node introduces itself to clients; `default_shards` is how many shards a new table has when nobody says."""

    storage: StorageApi
    results: Any
    """The answers to queries that are kept (`services.query.results.ResultCache`)."""
    memory: MemoryBudget
    """What all queries may take together."""
    spills: SpillSpace
    """Where they put aside what is too much for that."""
    auth: AuthApi | None
    changefeed: ChangefeedApi | None
    server_id: str
    server_name: str
    default_shards: int

    @property
    def access(self) -> RememberedPermissions: ...

    @property
    def plans(self) -> PlanCounters: ...

    @property
    def channels(self) -> Collection[ConnectionHolder]: ...

    async def queries(self) -> Sequence[RunningQuery]:
        """The queries that are being worked on, or have cursors, also those of other query services."""
        ...

    @property
    def statistics(self) -> KnownStatistics:
        """What is known of tables."""
        ...

    @property
    def catalogue(self) -> Catalogue:
        """The newest catalogue that is known."""
        ...

    async def refresh_catalogue(self) -> Catalogue:
        """Ask storage for the catalogue."""
        ...

    async def change_catalogue(self, context: CallContext, change: CatalogueChange) -> Catalogue:
        """Carry out a change and know the catalogue after it."""
        ...

    def release(self, opened: Closable) -> None:
        """Close a cursor or a feed some time soon, without waiting for it."""
        ...

    def turn(self, transaction: str) -> AbstractContextManager[None]:
        """The turn of one query among all that use a transaction: they run one after another."""
        ...
