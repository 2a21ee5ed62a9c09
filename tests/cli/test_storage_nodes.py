"""`photondb serve --processes --storage-nodes`, and the commands that work on the data of such a suite."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rethinkdb import r
from rethinkdb.errors import ReqlError, ReqlOpFailedError
from rethinkdb.net import Connection

from photondb.api.catalogue import CatalogueChange, CreateDatabase, CreateTable
from photondb.api.context import INTERNAL
from photondb.api.storage import Write
from photondb.bus import LocalBus
from photondb.cli.backup import back_up_nodes
from photondb.cli.restore import restore_nodes
from photondb.config import Settings, StartupError
from photondb.datum.keys import primary_key
from photondb.sharding.placement import part_of
from photondb.telemetry.targets import TARGETS_FILE
from services.storage.role import NodeRole
from services.storage.service import Storage
from tests.cli.test_command import photondb
from tests.running_suite import ENDED, RunningSuite
from tests.storage_nodes import storage_processes

TWO = ("--storage-nodes", "2")
ROWS = 200


def suite_of(path: Path, *arguments: str) -> RunningSuite:
    return RunningSuite(path, processes=True, arguments=arguments)


def connect(suite: RunningSuite) -> Connection:
    return r.connect("127.0.0.1", suite.driver_port)


def rows_of(suite: RunningSuite) -> Any:
    """What is in the tables of `filled`, as the driver sees it."""
    with connect(suite) as connection:
        spread = r.table("spread").order_by(index="n").pluck("id", "n").run(connection)
        return list(spread), list(r.db("other").table("single").order_by("id").run(connection))


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[RunningSuite]:
    """A suite of two storage nodes with a table on both, and one on node 1."""
    with suite_of(tmp_path / "data", *TWO) as suite:
        with connect(suite) as connection:
            r.table_create("spread", shards=2).run(connection)
            r.table("spread").index_create("n").run(connection)
            r.table("spread").index_wait("n").run(connection)
            r.table("spread").insert([{"id": n, "n": ROWS - n} for n in range(ROWS)]).run(connection)
            r.db_create("other").run(connection)
            r.db("other").table_create("single").run(connection)
            r.db("other").table("single").insert([{"id": n} for n in range(5)]).run(connection)
        yield suite


def check_that_a_node_is_named_that_is_away(filled: RunningSuite) -> None:
    """Others go on meanwhile."""
    pid = storage_processes(filled)[1]
    os.kill(pid, signal.SIGSTOP)  # the supervisor would start one that has ended again
    try:
        with connect(filled) as connection:
            with pytest.raises(ReqlError, match=r"Storage node 1: .* Nothing was changed"):
                r.table_create("not_made").run(connection)
            with pytest.raises(ReqlOpFailedError, match=r"Table `test.not_made` does not exist"):
                r.table("not_made").run(connection)
            own = [n for n in range(ROWS) if part_of(primary_key(n), 2) == 0]
            assert [row["id"] for row in r.table("spread").get_all(*own).run(connection)]
    finally:
        os.kill(pid, signal.SIGCONT)
    assert len(rows_of(filled)[0]) == ROWS


def test_it_stops_and_finds_everything_again(filled: RunningSuite) -> None:
    check_that_a_node_is_named_that_is_away(filled)
    before = rows_of(filled)
    assert len(before[0]) == ROWS
    numbers = storage_processes(filled)
    assert sorted(numbers) == [0, 1]
    targets = json.loads((filled.data_dir / TARGETS_FILE).read_text())
    assert {"storage", "storage-1"} <= {target["labels"]["process"] for target in targets}
    ports = ("--driver-port", str(filled.driver_port), "--http-port", str(filled.http_port))
    findings = photondb("doctor", "--data-dir", str(filled.data_dir), *ports).stdout
    assert all(f"storage{number}: write-ahead log" in findings for number in ("", "-1"))
    assert filled.stop() in ENDED
    checked = photondb("check", str(filled.data_dir))
    assert (checked.returncode, checked.stderr) == (0, "")
    counts = [int(count) for count in re.findall(r"^test\.spread: (\d+) documents", checked.stdout, re.MULTILINE)]
    assert len(counts) == 2
    assert sum(counts) == ROWS
    assert min(counts) > 0
    assert f"storage node 1, in {filled.data_dir}/storage-1:\n" in checked.stdout
    filled.start()
    assert rows_of(filled) == before


def test_backups_of_all_nodes_are_restored_together(filled: RunningSuite, tmp_path: Path) -> None:
    full, more, restored = (tmp_path / name for name in ("full", "more", "restored"))
    done = photondb("backup", "--data-dir", str(filled.data_dir), "--to", str(full))
    assert (done.returncode, done.stdout[:15]) == (0, "full backup of ")
    with connect(filled) as connection:
        r.table("spread").insert([{"id": n, "n": ROWS - n} for n in range(ROWS, ROWS + 50)]).run(connection)
        r.table_create("later", shards=2).run(connection)
        r.table("later").insert([{"id": n} for n in range(50)]).run(connection)
    before = rows_of(filled)
    done = photondb("backup", "--data-dir", str(filled.data_dir), "--to", str(more), "--incremental", str(full))
    assert (done.returncode, done.stdout[:22]) == (0, "incremental backup of ")
    done = photondb("restore", str(more), str(full), "--to", str(restored))
    assert (done.returncode, done.stdout) == (0, f"restored to {restored}\n")
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    repaired = photondb("repair", str(restored), "--to", str(tmp_path / "repaired"))
    assert repaired.returncode == 0
    assert photondb("check", str(tmp_path / "repaired")).returncode == 0
    with suite_of(restored, *TWO) as suite:
        with connect(suite) as connection:
            r.table("spread").index_wait("n").run(connection)
            assert r.table("later").count().run(connection) == 50
        assert rows_of(suite) == before


async def test_a_node_that_the_base_does_not_have_is_backed_up_as_a_whole(tmp_path: Path) -> None:
    data, bus = tmp_path / "data", LocalBus()

    async def change(*changes: CatalogueChange) -> None:
        """Carry out changes on two nodes, and insert a document into each table that is new."""
        home = Storage(data, bus, role=NodeRole(0, 2))
        await home.start()
        node = Storage(data / "storage-1", bus, role=NodeRole(1, 2, home))
        await node.start()
        for change in changes:
            catalogue = await home.change_catalogue(INTERNAL, change)
        await node.adopt_catalogue(INTERNAL, catalogue)
        for info in catalogue.tables.values():
            (storage,) = [(home, node)[number] for number in info.nodes]
            await storage.write(INTERNAL, [Write(info.id, "insert", documents=[{"id": 1}])])
        await node.stop()
        await home.stop()

    alone = Storage(data, bus)
    await alone.start()
    await alone.change_catalogue(INTERNAL, CreateTable("test", "t"))
    await alone.stop()
    names = [tmp_path / name for name in ("full", "more", "yet more")]
    back_up_nodes(data, names[0], None)
    await change(CreateDatabase("d"), CreateTable("d", "u"))
    back_up_nodes(data, names[1], names[0])
    await change(CreateTable("d", "v"))
    back_up_nodes(data, names[2], names[1])
    restore_nodes(names, tmp_path / "restored", None)
    checked = photondb("check", str(tmp_path / "restored"))
    assert (checked.returncode, checked.stderr) == (0, "")
    assert re.findall(r"^(\S+): 1 documents", checked.stdout, re.MULTILINE) == ["test.t", "d.u", "d.v"]


def test_what_does_not_fit_the_data_is_one_line(tmp_path: Path) -> None:
    """Fewer nodes than there were, and a node without its data."""
    data = tmp_path / "data"
    with suite_of(data, *TWO):
        pass
    options = ("--data-dir", str(data), "--driver-port", "0", "--http-port", "0")
    done = photondb("serve", *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "photondb: the data is on 2 storage nodes, and only one is to be started: use `photondb serve --processes "
        "--storage-nodes 2`, or name all in PHOTONDB_STORAGE_ADDRESSES\n"
    )
    (data / "storage-1").rename(tmp_path / "elsewhere")
    done = photondb("serve", *options, "--processes", *TWO)
    assert (done.returncode, done.stdout) == (1, "")
    assert "photondb: The data directory is not that of storage node 1: this suite has data of another" in done.stderr


def test_settings_of_storage_nodes_that_do_not_fit_together_are_refused() -> None:
    three = {"PHOTONDB_STORAGE_ADDRESSES": "unix:/a, unix:/b,unix:/c"}
    assert Settings.load({}, three).addresses_of_storage() == ("unix:/a", "unix:/b", "unix:/c")
    named = Settings.load({}, {**three, "PHOTONDB_STORAGE_NODE": "mydb-storage-2"})
    assert (named.storage_node, named.own_address_of("storage")) == (2, "unix:/c")
    assert (named.address_of("storage"), named.process_name("storage")) == ("unix:/a", "storage-2")
    for flags, environ, complaint in (
        ({"storage_nodes": "2"}, {}, "--storage-nodes needs --processes"),
        ({"storage_nodes": "0"}, {}, "--storage-nodes must be a number from 1 to 64, not '0'"),
        (
            {"storage_nodes": "2", "processes": "1"},
            three,
            "--storage-nodes is 2, and PHOTONDB_STORAGE_ADDRESSES names 3",
        ),
        ({}, {**three, "PHOTONDB_STORAGE_NODE": "3"}, "PHOTONDB_STORAGE_NODE is 3, and there are addresses of 3"),
        ({}, {"PHOTONDB_STORAGE_NODE": "first"}, "PHOTONDB_STORAGE_NODE must be a number from 0 to 63, or a host name"),
    ):
        with pytest.raises(StartupError, match=re.escape(complaint)):
            Settings.load(flags, environ)
