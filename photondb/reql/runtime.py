"""What a running query has at hand: the services behind it, its options and its limits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from weakref import WeakSet

import msgspec

from photondb.api.auth import SYSTEM_DATABASE_UUID
from photondb.api.catalogue import Catalogue, CatalogueChange, DatabaseInfo, IndexInfo, TableInfo
from photondb.api.changefeed import Feed, FeedRequest
from photondb.api.context import INTERNAL, CallContext
from photondb.api.storage import Scan, ScanReply, TableGone, Write, WriteSummary
from photondb.api.storage_status import DivisionStatus, EngineStats, IndexStatus, TableStatistics, TableStats
from photondb.datum.json import loads_stored
from photondb.datum.keys import primary_key
from photondb.reql import system_feeds, system_tables
from photondb.reql.accumulators import UNBOUNDED
from photondb.reql.configuration import IdentifierFormat
from photondb.reql.errors import ErrorKind, ReqlError, op_failed
from photondb.reql.function_runtime import DEFAULT_ARRAY_LIMIT, SLICE_SECONDS
from photondb.reql.memory import MemoryUse, total_bytes
from photondb.reql.names import SYSTEM_DATABASE, check_name
from photondb.reql.planner.access import Decision, choose
from photondb.reql.planner.conditions import asked_of
from photondb.reql.planner.distincts import index_of_values
from photondb.reql.planner.expressions import is_field
from photondb.reql.planner.extremes import Extreme, index_for
from photondb.reql.planner.trace import Trace
from photondb.reql.profile import Profile
from photondb.reql.spilling.workspace import Workspace
from photondb.reql.steps import FilterStep, Step
from photondb.reql.surroundings import Closable, Permission, Permit, Surroundings
from photondb.reql.suspend import may_wait, turns, wait
from photondb.reql.uninterrupted import WORK
from photondb.reql.values import Database
from photondb.rpc.errors import DeadlineExceeded, ServiceUnavailable
from photondb.sharding.router import Router

T = TypeVar("T")

DEFAULT_DATABASE = "test"
"""The database of queries that name none and have no run option `db`."""
ABSENT_INDEX_ID = -1
"""The id of what stands for an index that is not there, in a slice that nobody has read yet."""


class Runtime:
    """One query's run. `memory` is what it may take, None for as much as there is; one that is `untimed` may wait for
    as long as it takes. `family` says what kind of work it is, as soon as that is known; `trace` is told of the query's
    scans where that was asked for."""

    __slots__ = (
        "_slice_end",
        "_turn",
        "_workspaces",
        "array_limit",
        "context",
        "family",
        "memory",
        "options",
        "permit",
        "profile",
        "service",
        "shared",
        "storage",
        "streams",
        "trace",
        "untimed",
    )

    def __init__(
        self,
        service: Surroundings,
        context: CallContext = INTERNAL,
        options: dict[str, Any] | None = None,
        permit: Permit | None = None,
        memory: MemoryUse | None = None,
    ) -> None:
        self.service = service
        self.storage = service.storage
        self.context = context
        self.options = options or {}
        self.array_limit = self.options.get("array_limit", DEFAULT_ARRAY_LIMIT)
        self.permit = permit
        self.profile: Profile | None = None
        self.memory = memory
        self.trace: Trace | None = None
        self.shared: dict[Any, Any] | None = None
        """What has been computed once for all rows (`photondb.reql.planner.subqueries`); None where nothing may be."""
        self.streams = False
        """Whether arrays that are computed from streams may be streams themselves (the run option `stream`)."""
        self.untimed = False
        self.family = ""
        self._workspaces: WeakSet[Workspace] | None = None
        self._slice_end = 0.0
        self._turn = -1

    def outliving(self) -> Runtime:
        """A runtime for what goes on when the query is over: without its deadline, options and checks."""
        return Runtime(self.service, msgspec.structs.replace(self.context, deadline=None))

    @property
    def sequence_limit(self) -> int:
        """How many rows may be sorted, and so on, where the result need not be an array in memory."""
        return UNBOUNDED if self.streams else self.array_limit

    @property
    def small_bytes(self) -> int:
        """What a sort, or something like it, may hold without accounting for it."""
        return self.service.memory.small_bytes

    def workspace(self) -> Workspace:
        """What a sort, or something like it, works in."""
        memory = self.memory or MemoryUse(total_bytes(), self.service.memory)
        workspace = Workspace(memory, self.service.spills, self.checkpoint)
        if self._workspaces is None:
            self._workspaces = WeakSet()
        self._workspaces.add(workspace)
        return workspace

    def close(self) -> None:
        """The query has ended: give back what it has taken, even where an error still refers to it."""
        if self._workspaces is not None:
            for workspace in list(self._workspaces):
                workspace.close()
        if self.memory is not None:
            self.memory.give_back()

    def checkpoint(self, elements: int = 1) -> None:
        """Let other work go on when this query has run for a while, and end it when its time is up or it takes too
        much memory. To be called from every loop, for so many elements at a time."""
        if time.monotonic() >= self._slice_end:
            self._end_slice(elements)

    def _end_slice(self, elements: int) -> None:
        if WORK.limited:
            WORK.spend(elements)
            return
        deadline = self.context.deadline
        if deadline is not None and time.monotonic() > deadline:
            raise ReqlError(ErrorKind.RESOURCE_LIMIT, "The query took longer than its time limit.")
        if self._turn == turns():  # nothing but this query has been running since the slice began
            if self.memory is not None:
                self.memory.stop()
            if may_wait():
                wait(asyncio.sleep(0))
        self._turn = turns()
        if self.memory is not None:
            self.memory.start()
        self._slice_end = time.monotonic() + SLICE_SECONDS

    # --- the catalogue

    def default_database(self) -> Database:
        """The database of the run option `db`; without it `test`."""
        return self.database_value(self.options.get("db", DEFAULT_DATABASE))

    def database_value(self, name: Any) -> Database:
        """The database of that name as a value of the language; raises where there is none."""
        return Database(check_name(name, "Database"), self.database(name).uuid)

    def database(self, name: str) -> DatabaseInfo:
        """The database of that name; raises where there is none."""
        if name == SYSTEM_DATABASE:
            return DatabaseInfo(SYSTEM_DATABASE_UUID, name)
        found = self.service.catalogue.databases.get(name)
        if found is None:
            found = wait(self.service.refresh_catalogue()).databases.get(name)
        if found is None:
            raise op_failed(f"Database `{name}` does not exist.")
        return found

    def table(self, database: str, name: str, identifiers: IdentifierFormat = "name") -> TableInfo:
        """The table of that name; raises where there is none. `identifiers` is how a system table names things."""
        if database == SYSTEM_DATABASE:
            found = system_tables.find(name, identifiers)
        else:
            found = self.service.catalogue.tables.get((database, name))
            if found is None:
                found = wait(self.service.refresh_catalogue()).tables.get((database, name))
        if found is None:
            raise op_failed(f"Table `{database}.{name}` does not exist.")
        return found

    def current(self, info: TableInfo) -> TableInfo:
        """The table as the newest catalogue has it (its indexes may have changed since a query named it)."""
        for table in self.service.catalogue.tables.values():
            if table.id == info.id:
                return table
        return info

    def find_index(self, info: TableInfo, name: str) -> IndexInfo | None:
        """The index of that name; None stands for the primary key. Raises where there is none of that name."""
        if name == info.primary_key:
            return None
        index = self.current(info).index(name)
        if index is None:
            wait(self.service.refresh_catalogue())
            index = self.current(info).index(name)
        if index is None:
            raise self.no_index(info, name)
        return index

    def no_index(self, info: TableInfo, name: str) -> ReqlError:
        """The error for an index that a table does not have."""
        return op_failed(f"Index `{name}` was not found on table `{self.name_of(info)}`.")

    def require(self, permission: Permission, database: str | None = None, table: TableInfo | None = None) -> None:
        """Raise where the user lacks a permission for a table, a database (by name), or all of them."""
        if self.permit is not None and not (table is not None and system_tables.is_personal(table)):
            self.permit(permission, database, None if table is None else table.uuid)

    def change_catalogue(self, change: CatalogueChange) -> Catalogue:
        """Carry out a change of the catalogue."""
        self.refuse_in_transaction("Databases, tables and indexes cannot be changed")
        return wait(self.service.change_catalogue(self.context, change))

    def require_index(self, info: TableInfo, index: IndexInfo | None) -> None:
        """Raise where an index is not there, or is still being built."""
        if index is None or index.ready:
            return
        if index.id == ABSENT_INDEX_ID:
            raise self.no_index(info, index.name)
        for status in self.index_states(info):
            if status.name == index.name and not status.ready:
                raise op_failed(
                    f"Index `{index.name}` on table `{self.name_of(info)}` was accessed before its construction "
                    "was finished."
                )

    def refuse_in_transaction(self, what: str) -> None:
        """Raise where the query is part of a transaction: what it is about to do could not be taken back."""
        if self.context.transaction:
            raise op_failed(f"{what} in a transaction.")

    def name_of(self, info: TableInfo) -> str:
        """The table's name as messages show it: database.table."""
        return f"{info.database}.{info.name}"

    # --- documents

    def read_row(self, info: TableInfo, key: Any) -> Any:
        """The document with that primary key, or None."""
        (row,) = self.read_rows(info, (key,))
        return row

    def read_rows(self, info: TableInfo, keys: Sequence[Any]) -> list[Any]:
        """The documents with these primary keys, None for each where there is none, in one read."""
        self.require("read", info.database, info)
        if system_tables.is_system(info):
            return [system_tables.read_row(self, info, key) for key in keys]
        wanted = [(info.id, primary_key(key)) for key in keys]
        found = self._measured("Perform read.", lambda: self._ask(info, self.storage.get(self.context, wanted)))
        return [None if raw is None else loads_stored(raw) for raw in found]

    def _measured(self, description: str, work: Callable[[], T]) -> T:
        """Do work that waits for storage, as a task of the query's profile where there is one."""
        if self.profile is None:
            return work()
        result: T = self.profile.measure_call(self, description, work)
        return result

    def scan(self, info: TableInfo, scan: Scan) -> ScanReply:
        """Begin a scan of a table."""
        self.require("read", info.database, info)
        if system_tables.is_system(info):
            return system_tables.scan(self, info, scan)
        return self._measured("Perform read.", lambda: self._ask(info, self.storage.scan(self.context, scan)))

    def write(self, writes: Sequence[Write], info: TableInfo) -> list[WriteSummary]:
        """Carry out statements on one table, as one commit. Raises the first error of a statement as a whole."""
        self.require("write", info.database, info)
        if system_tables.is_system(info):
            self.refuse_in_transaction("System tables cannot be written to")
            try:
                return system_tables.write(self, info, writes)
            finally:
                system_feeds.note_change(self.service)
        summaries = []
        for outcome in self._measured("Perform write.", lambda: wait(self.storage.write(self.context, writes))):
            if isinstance(outcome, TableGone):
                raise self.gone(info)
            if isinstance(outcome, Exception):
                raise outcome
            summaries.append(outcome)
        return summaries

    def sync(self, info: TableInfo) -> None:
        """Return when all writes to the table that were acknowledged are on disk."""
        self.require("write", info.database, info)
        if system_tables.is_system(info):
            raise op_failed("Artificial tables don't support `sync()`.")
        self._ask(info, self.storage.sync(self.context, info.id))

    def table_stats(self, info: TableInfo) -> TableStats:
        """About how many documents a table has, and how large they are."""
        if system_tables.is_system(info):
            return TableStats(system_tables.count_rows(self, info), 0)
        return self._ask(info, self.storage.table_stats(self.context, info.id))

    def shard_rows(self, info: TableInfo) -> list[int]:
        """About how many documents each shard of a table has."""
        if system_tables.is_system(info):
            return [system_tables.count_rows(self, info)]
        return self._ask(info, self.storage.shard_rows(self.context, info.id))

    def engine_stats(self) -> list[EngineStats]:
        """The state of the store of each storage node, by their numbers."""
        if isinstance(self.storage, Router):
            return wait(self.storage.engine_stats_of_nodes(self.context))
        return [wait(self.storage.engine_stats(self.context))]

    def unreachable_nodes(self) -> frozenset[int]:
        """The numbers of the storage nodes that do not answer. Storage that is a single node must, for any query to get
        this far."""
        if isinstance(self.storage, Router):
            return wait(self.storage.unreachable())
        return frozenset()

    def divisions(self) -> dict[str, DivisionStatus]:
        """How far the tables are that are being divided anew, by their uuids. Nothing is known of them while the
        storage node that does it is away."""
        if not self.service.catalogue.copies:
            return {}
        try:
            return {status.table: status for status in wait(self.storage.divisions(self.context))}
        except (ServiceUnavailable, DeadlineExceeded):
            return {}

    def index_states(self, info: TableInfo) -> list[IndexStatus]:
        """How far each of the table's indexes is built."""
        if system_tables.is_system(info):
            return []
        return self._ask(info, self.storage.index_status(self.context, info.id))

    def choose_access(self, info: TableInfo, steps: Sequence[Step], limit: int | None) -> Decision | None:
        """How to find the rows that the filters at the beginning of `steps` keep, of which the first `limit` are
        wanted; None where no index can help."""
        hint = next((step.hint for step in steps if type(step) is FilterStep and step.hint is not None), None)
        if hint is None and system_tables.is_system(info):
            return None
        if type(hint) is str and hint != info.primary_key and info.index(hint) is None:
            wait(self.service.refresh_catalogue())
            info = self.current(info)
        conditions, alternatives = asked_of(steps)
        if self.array_limit < DEFAULT_ARRAY_LIMIT:  # a filter may fail where the function of an index does not
            conditions, alternatives = [one for one in conditions if is_field(one.expression)], []
        if not conditions and not alternatives and type(hint) is not str:
            return None
        return choose(info, conditions, self.statistics(info), limit, hint, alternatives)

    def index_for(self, info: TableInfo, extreme: Extreme) -> IndexInfo | None:
        """The index by which the first rows of an order are found."""
        if not info.indexes or not self.context.optimizations or self.array_limit < DEFAULT_ARRAY_LIMIT:
            return None
        return index_for(info, extreme, self.statistics(info).rows)

    def index_of_values(self, info: TableInfo, steps: Sequence[Step]) -> IndexInfo | None:
        """The index by which the different values are found that steps make of the documents of a table."""
        if not info.indexes or not self.context.optimizations or self.array_limit < DEFAULT_ARRAY_LIMIT:
            return None
        return index_of_values(info, steps, self.statistics(info))

    def statistics(self, info: TableInfo) -> TableStatistics:
        """What is known of a table and its indexes: it may be some seconds old."""
        if system_tables.is_system(info):
            return TableStatistics(system_tables.count_rows(self, info), 0, {})
        return self._ask(info, self.service.statistics.of(info.id))

    def log_position(self, info: TableInfo) -> list[int]:
        """How many changes each shard of the table has had."""
        return self._ask(info, self.storage.log_position(self.context, info.id))

    def _ask(self, info: TableInfo, answer: Awaitable[T]) -> T:
        """Storage's answer about a table; raises where the table has been dropped."""
        try:
            return wait(answer)
        except TableGone:
            raise self.gone(info) from None

    def gone(self, info: TableInfo) -> ReqlError:
        """The error for a table that was dropped while the query ran."""
        return op_failed(f"Table `{self.name_of(info)}` does not exist.")

    # --- feeds

    def open_feed(self, info: TableInfo, request: FeedRequest) -> Feed:
        """Open a feed on a table."""
        self.refuse_in_transaction("Changefeeds cannot be opened")
        if self.context.as_of_us is not None:
            raise op_failed("A query with the run option `as_of` cannot be a changefeed.")
        self.require("read", info.database, info)
        if system_tables.is_system(info):
            return system_feeds.open_system_feed(self, info, request)
        if self.service.changefeed is None:
            raise op_failed("This server has no changefeed service.")
        return self._ask(info, self.service.changefeed.open(self.context, request))

    def release(self, opened: Closable) -> None:
        """Close a cursor or a feed some time soon."""
        self.service.release(opened)
