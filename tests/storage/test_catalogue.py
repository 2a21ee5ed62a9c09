from __future__ import annotations

from pathlib import Path

import pytest

from photondb.api.catalogue import (
    AlterTable,
    CatalogueChange,
    CreateDatabase,
    CreateIndex,
    CreateTable,
    DropDatabase,
    DropIndex,
    DropTable,
    RenameDatabase,
    RenameIndex,
)
from photondb.api.context import INTERNAL
from photondb.api.storage import CATALOGUE_SUBJECT, Scan, TableGone
from photondb.config import StartupError
from photondb.reql.errors import ErrorKind, ReqlError
from services.storage import catalog, catalog_state, layout
from services.storage.rocks import Batch, Store
from services.storage.views import View
from tests.storage.conftest import Node
from tests.storage.language import term

BY_NAME = term(lambda row: row["name"])


def carried_out(*changes: CatalogueChange) -> catalog_state.State:
    state = catalog_state.first_state().state
    for change in changes:
        state = catalog.carry_out(state, change).state
    return state


def index(name: str, table: str = "t") -> CreateIndex:
    return CreateIndex("test", table, name, BY_NAME)


def test_new_store_has_the_database_test_and_the_system_database() -> None:
    catalogue = catalog_state.first_state().state.catalogue()
    assert sorted(catalogue.databases) == ["rethinkdb", "test"]
    assert catalogue.tables == {}


async def test_node_keeps_its_id(node: Node, tmp_path: Path) -> None:
    node_id = (await node.storage.catalogue(INTERNAL)).node_id
    await node.table("documents")
    assert len(node_id) == 36
    await node.stop()
    await node.start()
    assert (await node.storage.catalogue(INTERNAL)).node_id == node_id
    other = Node(tmp_path / "other")
    await other.start()
    assert (await other.storage.catalogue(INTERNAL)).node_id != node_id
    await other.stop()


async def test_node_from_before_ids_is_given_one(node: Node) -> None:
    await node.stop()
    store = Store.open(node.path)
    state = catalog_state.load(store)
    assert state is not None
    batch = Batch()
    batch.put(layout.META + b"c", b'{"version":%d,"next_table":1}' % state.counters.version)
    store.write(batch)
    store.close()
    await node.start()
    node_id = (await node.storage.catalogue(INTERNAL)).node_id
    assert node_id
    await node.stop()
    await node.start()
    assert (await node.storage.catalogue(INTERNAL)).node_id == node_id


@pytest.mark.parametrize(
    ("before", "change", "message"),
    [
        ([CreateDatabase("a")], CreateDatabase("a"), "Database `a` already exists."),
        ([], CreateDatabase("rethinkdb"), "Database `rethinkdb` already exists."),
        ([], DropDatabase("a"), "Database `a` does not exist."),
        ([], DropDatabase("rethinkdb"), "Database `rethinkdb` is special; you can't delete it."),
        ([], RenameDatabase("a", "b"), "Database `a` does not exist."),
        ([], RenameDatabase("rethinkdb", "b"), "Database `rethinkdb` is special; you can't configure it."),
        (
            [CreateDatabase("a")],
            RenameDatabase("a", "test"),
            "Cannot rename database `a` to `test` because database `test` already exists.",
        ),
        ([], CreateTable("a", "t"), "Database `a` does not exist."),
        ([CreateTable("test", "t")], CreateTable("test", "t"), "Table `test.t` already exists."),
        ([], DropTable("test", "t"), "Table `test.t` does not exist."),
        ([], DropTable("a", "t"), "Database `a` does not exist."),
        ([], AlterTable("test", "t", durability="soft"), "Table `test.t` does not exist."),
        (
            [CreateTable("test", "t"), CreateTable("test", "u")],
            AlterTable("test", "t", new_name="u"),
            "Can't rename table `test.t` to `test.u` because table `test.u` already exists.",
        ),
        ([], index("i"), "Table `test.t` does not exist."),
        ([CreateTable("test", "t"), index("i")], index("i"), "Index `i` already exists on table `test.t`."),
        ([CreateTable("test", "t")], DropIndex("test", "t", "i"), "Index `i` does not exist on table `test.t`."),
        (
            [CreateTable("test", "t"), index("i")],
            RenameIndex("test", "t", "j", "k"),
            "Index `j` does not exist or index `k` already exists on table `test.t`.",
        ),
        (
            [CreateTable("test", "t"), index("i"), index("j")],
            RenameIndex("test", "t", "i", "j"),
            "Index `i` does not exist or index `j` already exists on table `test.t`.",
        ),
        (
            [CreateTable("test", "t"), index("j")],
            RenameIndex("test", "t", "i", "j", overwrite=True),
            "Index `i` does not exist on table `test.t`.",
        ),
    ],
)
def test_what_the_catalogue_forbids(before: list[CatalogueChange], change: CatalogueChange, message: str) -> None:
    state = carried_out(*before)
    with pytest.raises(ReqlError) as caught:
        catalog.carry_out(state, change)
    assert caught.value.message == message
    assert caught.value.kind == ErrorKind.OP_FAILED


def test_function_that_is_none_is_refused() -> None:
    state = carried_out(CreateTable("test", "t"))
    with pytest.raises(ReqlError, match="The function cannot be stored"):
        catalog.carry_out(state, CreateIndex("test", "t", "i", [69, [[2, [1]], [999_999, []]]]))
    with pytest.raises(ReqlError, match="The function cannot be stored"):
        catalog.carry_out(state, AlterTable("test", "t", write_hook=[69, [[2, [1]], [999_999, []]]]))


def test_versions_grow_with_each_change() -> None:
    versions = [carried_out(*[CreateDatabase(f"d{n}") for n in range(count)]).counters.version for count in range(4)]
    assert versions == [1, 2, 3, 4]


def test_ids_are_never_used_again() -> None:
    state = carried_out(CreateTable("test", "t"), index("i"), DropIndex("test", "t", "i"), index("i"))
    (record,) = state.tables.values()
    assert [found.id for found in record.info.indexes] == [2]
    state = catalog.carry_out(state, DropTable("test", "t")).state
    state = catalog.carry_out(state, CreateTable("test", "t")).state
    assert list(state.tables) == [2]


def test_renaming_a_database_takes_its_tables_along() -> None:
    state = carried_out(CreateDatabase("a"), CreateTable("a", "t"), CreateTable("test", "t"), RenameDatabase("a", "b"))
    assert sorted(state.catalogue().tables) == [("b", "t"), ("test", "t")]
    assert sorted(state.databases) == ["b", "rethinkdb", "test"]


def test_renaming_an_index_to_its_own_name_does_nothing() -> None:
    state = carried_out(CreateTable("test", "t"), index("i"), RenameIndex("test", "t", "i", "i"))
    (record,) = state.tables.values()
    assert [found.name for found in record.info.indexes] == ["i"]


def test_renaming_an_index_over_another_drops_that_one() -> None:
    state = carried_out(CreateTable("test", "t"), index("i"), index("j"))
    outcome = catalog.carry_out(state, RenameIndex("test", "t", "i", "j", overwrite=True))
    assert outcome.dropped_indexes == [(1, 2)]
    (record,) = outcome.state.tables.values()
    assert [(found.id, found.name) for found in record.info.indexes] == [(1, "j")]


def test_altering_a_table_changes_what_is_given_and_nothing_else() -> None:
    hook = term(lambda context, old, new: new)
    state = carried_out(CreateTable("test", "t", primary_key="key"), AlterTable("test", "t", write_hook=hook))
    state = catalog.carry_out(state, AlterTable("test", "t", new_name="u", durability="soft")).state
    info = state.catalogue().tables["test", "u"]
    assert (info.durability, info.write_hook, info.primary_key) == ("soft", hook, "key")
    state = catalog.carry_out(state, AlterTable("test", "u", write_hook=[])).state
    assert state.catalogue().tables["test", "u"].write_hook is None


def test_catalogue_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    assert catalog_state.load(store) is None
    outcome = catalog_state.first_state()
    changes: list[CatalogueChange] = [
        CreateDatabase("a"),
        CreateTable("a", "t", primary_key="key", durability="soft"),
        CreateIndex("a", "t", "i", BY_NAME, multi=True),
        CreateTable("test", "gone"),
        DropTable("test", "gone"),
        RenameDatabase("a", "b"),
        CreateDatabase("c"),
        DropDatabase("c"),
    ]
    for change in changes:
        batch = Batch()
        outcome.write_to(batch, store)
        store.write(batch)
        outcome = catalog.carry_out(outcome.state, change)
    batch = Batch()
    outcome.write_to(batch, store)
    store.write(batch)
    assert catalog_state.load(store) == outcome.state
    store.close()


async def test_dropped_table_leaves_no_keys_and_its_users_are_told(node: Node) -> None:
    table, other = await node.table("t"), await node.table("u")
    await table.change(CreateIndex("test", "t", "name", BY_NAME))
    for each in (table, other):
        await each.insert(*({"id": number, "name": "x"} for number in range(1000)))
    await node.storage.change_catalogue(INTERNAL, DropTable("test", "t"))
    with pytest.raises(TableGone):
        await table.insert({"id": 1})
    with pytest.raises(TableGone):
        await table.get(1)
    for call in (
        node.storage.scan(INTERNAL, Scan(table.info.id)),
        node.storage.index_status(INTERNAL, table.info.id),
        node.storage.read_log(INTERNAL, table.info.id, 0, 0, 10),
        node.storage.log_position(INTERNAL, table.info.id),
        node.storage.table_stats(INTERNAL, table.info.id),
        node.storage.sync(INTERNAL, table.info.id),
    ):
        with pytest.raises(TableGone):
            await call
    assert len(await other.rows()) == 1000
    await node.stop()
    store = Store.open(node.path)
    view = View(store)
    for low, high in layout.table_ranges(table.info.id):
        assert view.read(low, high).take(1) == []
    store.close()
    await node.start()
    assert len(await (await node.table("u")).rows()) == 1000


async def test_changes_are_announced(node: Node) -> None:
    heard: list[bytes] = []
    await node.bus.subscribe(CATALOGUE_SUBJECT, lambda message: heard.append(message.payload))
    first = (await node.storage.catalogue(INTERNAL)).version
    await node.storage.change_catalogue(INTERNAL, CreateDatabase("a"))
    await node.storage.change_catalogue(INTERNAL, CreateTable("a", "t"))
    await node.storage.sync(INTERNAL, 1)
    assert heard == [b"%d" % (first + 1), b"%d" % (first + 2)]


async def test_catalogue_that_cannot_be_read_is_a_startup_error(node: Node) -> None:
    await node.stop()
    store = Store.open(node.path)
    batch = Batch()
    batch.put(layout.META + b"t\0\0\0\1", b"{}")
    store.write(batch)
    store.close()
    with pytest.raises(StartupError, match=r"^the data directory .* is damaged: "):
        await node.start()
    store = Store.open(node.path)
    batch = Batch()
    batch.delete(layout.META + b"t\0\0\0\1")
    store.write(batch)
    store.close()
    await node.start()


async def test_catalogue_survives_a_restart(node: Node) -> None:
    await node.storage.change_catalogue(INTERNAL, CreateDatabase("a"))
    await node.storage.change_catalogue(INTERNAL, CreateTable("a", "t", primary_key="key"))
    before = await node.storage.catalogue(INTERNAL)
    await node.stop()
    await node.start()
    assert await node.storage.catalogue(INTERNAL) == before
