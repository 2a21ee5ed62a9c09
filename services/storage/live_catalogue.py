"""The catalogue of a running node: what the store has, and what lives in memory by it, changed together."""

from __future__ import annotations

from collections.abc import Callable

from photondb.api.catalogue import Catalogue, CatalogueChange, SplitTable
from photondb.api.storage import IndexStatus
from photondb.reql.errors import op_failed
from services.storage import catalog
from services.storage.builder import IndexBuilder
from services.storage.commit import CommitPath
from services.storage.indexes import Index
from services.storage.publisher import Publisher
from services.storage.reclaimer import Reclaimer
from services.storage.rocks import Batch, Store
from services.storage.shards import even_split_points, uuid_split_points
from services.storage.tables import Table
from services.storage.views import View


class LiveCatalogue:
    """Keeps `tables` in line with the catalogue, and has indexes built and what was dropped reclaimed.

    `forget` is told of each table that has been dropped.
    """

    state: catalog.State
    catalogue: Catalogue
    """The same as clients of storage are told it."""

    def __init__(
        self,
        store: Store,
        path: CommitPath,
        tables: dict[int, Table],
        publisher: Publisher,
        forget: Callable[[int], None],
    ) -> None:
        self._store = store
        self._path = path
        self._tables = tables
        self._publisher = publisher
        self._forget = forget
        self.builder = IndexBuilder(store, self._finish_index)
        self._reclaimer = Reclaimer(store)

    async def open(self) -> None:
        """Take up the catalogue that the store has, or begin one, and the builds of indexes that are unfinished."""
        state = catalog.load(self._store)
        if state is None or not state.counters.node_id:
            first = catalog.first_state() if state is None else catalog.with_node_id(state)
            batch = Batch()
            first.write_to(batch, self._store)
            self._store.write(batch)
            await self._path.sync()
            state = first.state
        self._adopt(state)
        self._start_builds()

    async def stop(self) -> None:
        """Stop building and reclaiming."""
        await self.builder.stop()
        await self._reclaimer.stop()

    async def change(self, change: CatalogueChange) -> Catalogue:
        """Carry out a change, durably, and tell everyone. Raises ReqlError, StoreError."""
        if isinstance(change, SplitTable):
            await self._split(change)
        else:
            self._carry_out(catalog.carry_out(self.state, change), Batch())
        after = self.catalogue
        await self._path.sync()
        self._publisher.catalogue(after.version)
        self._start_builds()
        return after

    def index_statuses(self, table: Table) -> list[IndexStatus]:
        """How far each of the table's indexes is built, by name."""
        statuses = [self.builder.status(table, index) for index in table.indexes]
        return sorted(statuses, key=lambda status: status.name)

    def _carry_out(self, outcome: catalog.Outcome, batch: Batch) -> None:
        """Write a change of the catalogue together with what is in `batch` already, and live by it."""
        outcome.write_to(batch, self._store)
        self._store.write(batch)
        self._adopt(outcome.state)
        self._reclaimer.reclaim(outcome.deleted_ranges)

    def _adopt(self, state: catalog.State) -> None:
        """Bring the tables in memory in line with the catalogue."""
        self.state = state
        self.catalogue = state.catalogue()
        tables = self._tables
        for table_id in [table_id for table_id in tables if table_id not in state.tables]:
            tables.pop(table_id).dropped = True
            self._forget(table_id)
        view = View(self._store)
        for table_id, record in state.tables.items():
            table = tables.get(table_id)
            if table is None:
                tables[table_id] = Table.load(view, record.info)
            elif table.info is not record.info:
                table.update(record.info)

    async def _split(self, change: SplitTable) -> None:
        """Divide a table into shards anew, where that changes anything."""
        table = self._tables[self.state.find(change.database, change.name).info.id]
        shards = change.shards or table.info.shards
        if shards == change.shards == table.info.shards:
            return
        points = await even_split_points(self._store, table, shards)
        if points is None and shards != table.info.shards:
            points = uuid_split_points(shards)
        if table.dropped:
            raise op_failed(f"Table `{change.database}.{change.name}` does not exist.")
        if points is not None and points != table.info.split_points:
            self._carry_out(catalog.split(self.state, table.id, points), Batch())

    def _start_builds(self) -> None:
        for table in self._tables.values():
            for index in table.indexes:
                if not index.info.ready:
                    self.builder.start(table, index)

    def _finish_index(self, table: Table, index: Index, batch: Batch) -> None:
        self._carry_out(catalog.mark_ready(self.state, table.id, index.id), batch)
        self._publisher.catalogue(self.catalogue.version)
