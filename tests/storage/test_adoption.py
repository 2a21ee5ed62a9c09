"""Whatever is changed at home, a node that adopts some of its catalogues has what the last of them says."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from photondb.api.catalogue import (
    AlterTable,
    CatalogueChange,
    CreateDatabase,
    CreateIndex,
    CreateTable,
    DropDatabase,
    DropIndex,
    DropTable,
    IndexBuilt,
    IndexInfo,
    JoinNode,
    RenameDatabase,
    RenameIndex,
    TableInfo,
)
from photondb.reql.errors import ReqlError
from services.storage import adoption, catalog, catalog_state
from tests.examples import examples
from tests.storage.language import term

NODE = 1
FIELD_A = term(lambda row: row["a"])

DATABASES = st.sampled_from(["a", "b"])
TABLES = st.sampled_from(["t", "u"])
INDEXES = st.sampled_from(["i", "j", "k"])
INDEX_CHANGES = st.one_of(
    st.builds(CreateIndex, DATABASES, TABLES, INDEXES, st.just(FIELD_A)),
    st.builds(DropIndex, DATABASES, TABLES, INDEXES),
    st.builds(RenameIndex, DATABASES, TABLES, INDEXES, INDEXES, st.booleans()),
)
CHANGES = st.one_of(
    st.builds(CreateDatabase, DATABASES),
    st.builds(DropDatabase, DATABASES),
    st.builds(RenameDatabase, DATABASES, DATABASES),
    st.builds(CreateTable, DATABASES, TABLES, shards=st.integers(1, 3)),
    st.builds(DropTable, DATABASES, TABLES),
    st.builds(AlterTable, DATABASES, TABLES, new_name=TABLES),
    INDEX_CHANGES,
    INDEX_CHANGES,
    INDEX_CHANGES,
    st.sampled_from(["build", "adopt"]),
    st.sampled_from(["build", "adopt"]),
)
FIRST: list[CatalogueChange] = [
    JoinNode(NODE, "node"),
    CreateDatabase("a"),
    CreateDatabase("b"),
    *(CreateTable(database, table, shards=2) for database in "ab" for table in "tu"),
    *(CreateIndex(database, table, "i", FIELD_A) for database in "ab" for table in "tu"),
]


@dataclass
class Disk:
    """What the store of the node holds after all that was written and deleted."""

    databases: dict[str, str] = field(default_factory=dict)
    tables: dict[int, TableInfo] = field(default_factory=dict)
    indexes: set[tuple[int, int]] = field(default_factory=set)

    def write(self, outcome: catalog_state.Outcome) -> None:
        for database in outcome.dropped_databases:
            del self.databases[database.uuid]
        for table in outcome.dropped_tables:
            del self.tables[table]
            self.indexes = {(id, index) for id, index in self.indexes if id != table}
        self.indexes -= set(outcome.dropped_indexes)
        self.databases.update({database.uuid: database.name for database in outcome.databases})
        for record in outcome.tables:
            self.tables[record.info.id] = record.info
            self.indexes |= {(record.info.id, index.id) for index in record.info.indexes}


def without_readiness(info: TableInfo) -> TableInfo:
    indexes = tuple(msgspec.structs.replace(index, ready=False, built=()) for index in info.indexes)
    return msgspec.structs.replace(info, indexes=indexes)


def unbuilt(state: catalog_state.State) -> list[tuple[int, IndexInfo]]:
    here = [record.info for record in state.tables_here().values()]
    return [(info.id, index) for info in here for index in info.indexes if not index.ready]


@settings(max_examples=examples(200))
@given(st.lists(CHANGES, min_size=5, max_size=40))
def test_a_node_has_what_the_last_adopted_catalogue_says(changes: list[CatalogueChange | str]) -> None:
    home = catalog_state.first_state().state
    for first in FIRST:
        home = catalog.carry_out(home, first).state
    node = adoption.first_state_of_node(NODE).state
    disk = Disk()
    built: set[tuple[int, int]] = set()
    for change in ["adopt", *changes, "adopt", "build", "adopt"]:
        if change == "build":
            for table, index in unbuilt(node)[:3]:
                outcome = catalog.finish_index(node, table, index.id)
                disk.write(outcome)
                node = outcome.state
                built.add((table, index.id))
        elif change == "adopt":
            told = home.catalogue()
            assert adoption.check_home(node, told) is None
            outcome = adoption.adopt(node, told)
            disk.write(outcome)
            node = outcome.state
            reported = adoption.to_report(node, told)
            assert set(reported) <= built
            for table, index_id in reported:
                home = catalog.carry_out(home, IndexBuilt(table, index_id, NODE)).state
            assert adoption.to_report(node, home.catalogue()) == []
            _check(node, told.version, disk, home, built)
        else:
            assert not isinstance(change, str)
            try:
                home = catalog.carry_out(home, change).state
            except ReqlError:
                continue


def _check(
    node: catalog_state.State, version: int, disk: Disk, home: catalog_state.State, built: set[tuple[int, int]]
) -> None:
    wanted = home.catalogue()
    assert node.counters.version == version
    assert node.catalogue().databases == wanted.databases
    assert disk.databases == {database.uuid: database.name for database in wanted.databases.values()}
    assert {id: without_readiness(record.info) for id, record in node.tables.items()} == {
        info.id: without_readiness(info) for info in wanted.tables.values()
    }
    assert disk.tables == {id: record.info for id, record in node.tables.items()}
    exist = {(info.id, index.id) for info in wanted.tables.values() for index in info.indexes}
    assert disk.indexes == exist
    ready = {(info.id, index.id) for info in disk.tables.values() for index in info.indexes if index.ready}
    assert ready == built & exist
