"""The tools that come with the official driver, with which users of RethinkDB bring their data over."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rethinkdb import r

from tests.running_suite import RunningSuite

ORDERS = r.db("shop").table("orders")


def tool(name: str, *arguments: str | Path, directory: Path) -> str:
    """Run one of the tools, and return what it prints."""
    command = [Path(sys.prefix, "bin", f"rethinkdb-{name}"), *arguments]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_dump_is_restored(tmp_path: Path) -> None:
    archive = tmp_path / "dump.tar.gz"
    with RunningSuite(tmp_path / "old", processes=False) as old, r.connect(port=old.driver_port) as conn:
        r.db_create("shop").run(conn)
        r.db("shop").table_create("orders", primary_key="number").run(conn)
        rows = [{"number": number, "kind": number % 3, "at": r.epoch_time(number)} for number in range(300)]
        ORDERS.insert(rows).run(conn)
        ORDERS.index_create("kind").run(conn)
        ORDERS.index_create("both", [r.row["kind"], r.row["number"]]).run(conn)
        ORDERS.index_wait().run(conn)
        ORDERS.set_write_hook(lambda context, old, new: new).run(conn)
        before = list(ORDERS.order_by(index="number").run(conn))
        told = tool("dump", "-c", f"127.0.0.1:{old.driver_port}", "-f", archive, directory=tmp_path)
        assert "300 rows exported from 1 table" in told
    with RunningSuite(tmp_path / "new", processes=False) as new, r.connect(port=new.driver_port) as conn:
        told = tool("restore", "-c", f"127.0.0.1:{new.driver_port}", archive, directory=tmp_path)
        assert "300 rows imported to 1 table" in told
        assert list(ORDERS.order_by(index="number").run(conn)) == before
        assert ORDERS.index_list().run(conn) == ["both", "kind"]
        ORDERS.index_wait().run(conn)
        assert ORDERS.get_all(1, index="kind").count().run(conn) == 100
        assert ORDERS.get_write_hook()["query"].run(conn).startswith("setWriteHook(")
        table = tmp_path / "films.csv"
        table.write_text("id,year\nm,1931\nmetropolis,1927\n")
        address = f"127.0.0.1:{new.driver_port}"
        tool("import", "-c", address, "-f", table, "--table", "test.films", "--format", "csv", directory=tmp_path)
        assert r.table("films").order_by("id")["year"].run(conn) == ["1931", "1927"]
        tool("export", "-c", address, "-e", "test.films", "-d", tmp_path / "exported", directory=tmp_path)
        assert '"metropolis"' in (tmp_path / "exported" / "test" / "films.json").read_text()


def test_the_options_of_the_tools(tmp_path: Path) -> None:
    people = r.db("shop").table("people")
    with RunningSuite(tmp_path / "data", processes=False) as suite, r.connect(port=suite.driver_port) as conn:
        at = ("-c", f"127.0.0.1:{suite.driver_port}", "--password-file", tmp_path / "password")
        r.db_create("shop").run(conn)
        r.db("shop").table_create("people").run(conn)
        people.insert([{"id": number, "name": f'Åse "{number}"; &co', "age": number} for number in range(50)]).run(conn)
        people.index_create("age").run(conn)
        people.index_wait().run(conn)
        r.db("rethinkdb").table("users").get("admin").update({"password": "secret"}).run(conn)
        (tmp_path / "password").write_text("secret\n")

        files = ("--format", "csv", "--delimiter", ";", "--fields", "id,name")
        tool("export", *at, "-d", "exported", "-e", "shop.people", *files, directory=tmp_path)
        exported = (tmp_path / "exported" / "shop" / "people.csv").read_text().splitlines()
        assert exported[0] == "id;name"
        assert sorted(exported)[0] == '0;"Åse ""0""; &co"'

        named = ("--no-header", "--custom-header", "id,who", "--format", "csv")
        (tmp_path / "plain.csv").write_text("1,ada\n2,bob\n")
        tool("import", *at, "-f", "plain.csv", "--table", "shop.imported", *named, "--clients", "3", directory=tmp_path)
        imported = r.db("shop").table("imported")
        assert imported.order_by("id").run(conn) == [{"id": "1", "who": "ada"}, {"id": "2", "who": "bob"}]

        dumped = tool("dump", *at, "-e", "shop.people", "-f", "people.tar.gz", "--clients", "2", directory=tmp_path)
        assert "50 rows exported from 1 table" in dumped
        people.delete().run(conn)
        people.index_drop("age").run(conn)
        chosen = ("-i", "shop.people", "--force", "--no-secondary-indexes", "--hard-durability")
        tool("restore", *at, "people.tar.gz", *chosen, directory=tmp_path)
        assert people.count().run(conn) == 50
        assert people.index_list().run(conn) == []
        assert "Rebuilding 0 index" in tool("index-rebuild", *at, directory=tmp_path)
