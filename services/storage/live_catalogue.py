"""The catalogue of a running node: what the store has, and what lives in memory by it, changed together."""

from __future__ import annotations

from collections.abc import Callable

from photondb.api.catalogue import Catalogue, CatalogueChange, EndedLog, JoinNode, ResumeCopy, SplitTable
from photondb.api.storage_status import IndexStatus
from photondb.config import StartupError
from photondb.reql.errors import op_failed
from photondb.sharding.placement import nodes_for_shards
from services.storage import adoption, catalog, catalog_state, copies
from services.storage.builder import IndexBuilder
from services.storage.commit import CommitPath
from services.storage.indexes import Index
from services.storage.publisher import Publisher
from services.storage.reclaimer import Reclaimer
from services.storage.rocks import Batch, Store
from services.storage.role import NodeRole
from services.storage.shards import even_split_points, uuid_split_points
from services.storage.tables import Table
from services.storage.views import View


class LiveCatalogue:
    """Keeps `tables`, those of which this node has a part, in line with the catalogue, and has indexes built and what
    was dropped reclaimed.

    `forget` is told of each table that has been dropped.
    """

    state: catalog_state.State
    catalogue: Catalogue
    """The same as clients of storage are told it."""

    def __init__(
        self,
        store: Store,
        path: CommitPath,
        tables: dict[int, Table],
        publisher: Publisher,
        forget: Callable[[int], None],
        role: NodeRole,
    ) -> None:
        self._store = store
        self._path = path
        self._tables = tables
        self._publisher = publisher
        self._forget = forget
        self._role = role
        self._durable_version = 0
        self.unreported = False
        """Whether this node has built something that home may not know of."""
        self.built: Callable[[], None] = lambda: None
        """Called when that becomes true."""
        self.changed: Callable[[], None] = lambda: None
        """Called when the catalogue has changed."""
        self.kept_logs: dict[int, EndedLog] = {}
        """The logs of former parts of tables, by the id that the table had then."""
        self.builder = IndexBuilder(store, self._finish_index)
        self._reclaimer = Reclaimer(store)

    async def open(self) -> None:
        """Take up the catalogue that the store has, or begin one, and the builds of indexes that are unfinished. Raises
        StartupError where it is not that of the node that is wanted."""
        state = catalog_state.load(self._store)
        if state is not None:
            self._check_role(state)
        if state is None or not state.counters.node_id:
            if state is not None:
                first = catalog_state.with_node_id(state)
            elif self._role.home is None:
                first = catalog_state.first_state()
            else:
                first = adoption.first_state_of_node(self._role.number)
            batch = Batch()
            first.write_to(batch, self._store)
            self._store.write(batch)
            await self._path.sync()
            state = first.state
        if self._role.home is None:
            for copy in state.copies():  # what has come since that was noted may be lost
                state = self._write(catalog.carry_out(state, ResumeCopy(copy.info.id)))
            if len(state.counters.nodes) > self._role.count:  # the last ones were emptied, and are taken away
                state = self._write(copies.without_nodes(state, self._role.count))
        self._adopt(state)
        self._start_builds()

    def _write(self, outcome: catalog_state.Outcome) -> catalog_state.State:
        """Write a change before anything lives by the catalogue."""
        batch = Batch()
        outcome.write_to(batch, self._store)
        self._store.write(batch)
        self._reclaimer.reclaim(outcome.deleted_ranges)
        return outcome.state

    def _check_role(self, state: catalog_state.State) -> None:
        number, wanted = state.counters.node, self._role
        if number != wanted.number:
            raise StartupError(
                f"the data directory {self._store.path} is that of storage node {number}, not of node {wanted.number}: "
                "give each node its own directory (PHOTONDB_DATA_DIR, PHOTONDB_STORAGE_NODE)"
            )
        needed = len(state.counters.nodes)
        while needed and needed - 1 in state.counters.drained and not _is_used(state, needed - 1):
            needed -= 1
        if wanted.home is None and needed > wanted.count:
            raise StartupError(
                f"the data is on {needed} storage nodes, and {_counted(wanted.count)} to be started: use `photondb "
                f"serve --processes --storage-nodes {needed}`, or name all in PHOTONDB_STORAGE_ADDRESSES"
            )

    async def stop(self) -> None:
        """Stop building and reclaiming."""
        await self.builder.stop()
        await self._reclaimer.stop()

    async def change(self, change: CatalogueChange) -> Catalogue:
        """Carry out a change, durably, and tell everyone. Raises ReqlError, StoreError."""
        if self._role.home is not None:
            raise op_failed(
                f"The catalogue is that of storage node 0, which changes it: this is node {self._role.number}."
            )
        if isinstance(change, JoinNode) and change.node >= self._role.count:
            raise op_failed(
                f"Storage node {change.node} is not one of this suite, which has {self._role.count}: start node 0 with "
                "all addresses in PHOTONDB_STORAGE_ADDRESSES."
            )
        before = self.state
        if isinstance(change, SplitTable):
            await self._split(change)
        else:
            self._carry_out(catalog.carry_out(self.state, change), Batch())
        after = self.catalogue
        await self.sync()
        if self.state is not before:
            self._publisher.catalogue(after.version)
        self._start_builds()
        return after

    async def durable(self) -> Catalogue:
        """The catalogue. Where other nodes follow it, it is on the disk first: what they have adopted must not be gone
        after a crash. Raises StoreError."""
        catalogue = self.catalogue
        if self._role.count > 1 and catalogue.version > self._durable_version:
            await self.sync()
        return catalogue

    async def adopt(self, catalogue: Catalogue) -> None:
        """Follow the catalogue of home, durably. Raises ReqlError where this node must not, StoreError."""
        counters = self.state.counters
        if self._role.home is None or (counters.home_id and catalogue.version == counters.version):
            return
        problem = adoption.check_home(self.state, catalogue)
        if problem is None:
            last = {id: table.position.sequence for id, table in self._tables.items()}
            problem = adoption.check_filled(self.state, catalogue, last)
        if problem is not None:
            raise problem
        self._carry_out(adoption.adopt(self.state, catalogue), Batch())
        await self.sync()
        self._start_builds()

    async def sync(self) -> None:
        """Return when the catalogue as it is now is on the disk. Raises StoreError."""
        version = self.catalogue.version
        await self._path.sync()
        self._durable_version = max(self._durable_version, version)

    def progress(self, copy: int) -> catalog_state.CopyProgress | None:
        """How far a copy is filled, as was noted last; None where nothing was."""
        return self.state.tables[copy].progress

    def note_progress(self, copy: int, attempt: int, progress: catalog_state.CopyProgress) -> None:
        """Note how far an attempt to fill a copy is, unless it is over. Raises StoreError."""
        self._carry_out(copies.note_progress(self.state, copy, attempt, progress), Batch())

    def index_statuses(self, table: Table) -> list[IndexStatus]:
        """How far each of the table's indexes is built, by name."""
        statuses = [self.builder.status(table, index) for index in table.indexes]
        return sorted(statuses, key=lambda status: status.name)

    def _carry_out(self, outcome: catalog_state.Outcome, batch: Batch) -> None:
        """Write a change of the catalogue together with what is in `batch` already, and live by it."""
        outcome.write_to(batch, self._store)
        self._store.write(batch)
        self._adopt(outcome.state)
        self._reclaimer.reclaim(outcome.deleted_ranges)

    def _adopt(self, state: catalog_state.State) -> None:
        """Bring the tables in memory in line with the catalogue."""
        self.state = state
        self.catalogue = state.catalogue()
        self.kept_logs = state.kept_logs()
        tables = self._tables
        here = state.tables_here()
        for table_id in [table_id for table_id in tables if table_id not in here]:
            tables.pop(table_id).dropped = True
            self._forget(table_id)
        view = View(self._store)
        for table_id, record in here.items():
            table = tables.get(table_id)
            if table is None:
                tables[table_id] = Table.load(view, record.info, state.counters.node)
            elif table.info is not record.info:
                table.update(record.info)
        self.changed()

    async def _split(self, change: SplitTable) -> None:
        """Divide a table into shards anew, where that changes anything."""
        name = f"{change.database}.{change.name}"
        info = self.state.find(change.database, change.name).info
        present = self.catalogue.copy_of(info) or info
        if change.shards == present.shards or (change.shards is None and present.is_spread):
            return
        if change.shards is not None and (len(self.catalogue.usable_nodes) > 1 or present.is_spread):
            nodes = nodes_for_shards(self.catalogue, present, change.shards)
            if nodes != present.nodes:
                self._carry_out(copies.divide(self.state, info.id, nodes), Batch())
                return
        if present is not info or info.is_spread:
            return
        shards = change.shards or info.shards
        points = () if shards == 1 else change.points
        if points is None:
            table = self._tables.get(info.id)
            if table is None:
                raise op_failed(f"Table `{name}` is on storage node {info.nodes[0]}, which knows where to divide it.")
            points = await self.split_points(table, shards)
        if info.id not in self.state.tables:
            raise op_failed(f"Table `{name}` does not exist.")
        if points != self.state.tables[info.id].info.split_points:
            self._carry_out(catalog.split(self.state, info.id, points), Batch())

    async def split_points(self, table: Table, shards: int | None) -> tuple[bytes, ...]:
        """The split points for so many shards (None: as many as there are): for equally many documents in each, or
        where there are too few documents the present ones, or those that are right for uuids. Raises StoreError."""
        present = table.info.split_points
        wanted = len(present) + 1 if shards is None else shards
        points = await even_split_points(self._store, table, wanted)
        if points is None:
            points = present if wanted == len(present) + 1 else uuid_split_points(wanted)
        return points

    def _start_builds(self) -> None:
        for table in self._tables.values():
            for index in table.indexes:
                if not index.info.ready:
                    self.builder.start(table, index)

    def _finish_index(self, table: Table, index: Index, batch: Batch) -> None:
        self._carry_out(catalog.finish_index(self.state, table.id, index.id), batch)
        if self._role.home is None:
            self._publisher.catalogue(self.catalogue.version)
        else:
            self.unreported = True
            self.built()


def _is_used(state: catalog_state.State, node: int) -> bool:
    """Whether a node has a part of a table, or a log that is still kept."""
    return any(
        node in record.info.nodes or any(ended.kept and ended.node == node for ended in record.info.ended)
        for record in state.tables.values()
    )


def _counted(nodes: int) -> str:
    return "only one is" if nodes == 1 else f"only {nodes} are"
