"""The examples of docs/migrating-from-rethinkdb.md do what the page says: the old server is a suite, too."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from rethinkdb import r

from tests.running_suite import RunningSuite

PAGE = (Path(__file__).parents[2] / "docs" / "migrating-from-rethinkdb.md").read_text()


def test_the_examples_print_what_they_say(tmp_path: Path) -> None:
    program = "".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    outputs = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    with (
        RunningSuite(tmp_path / "old", processes=False) as old,
        RunningSuite(tmp_path / "new", processes=False) as new,
    ):
        for suite in (old, new):
            with r.connect("127.0.0.1", suite.driver_port) as conn:
                r.db_create("shop").run(conn)
                r.db("shop").table_create("orders").run(conn)
        with r.connect("127.0.0.1", old.driver_port) as conn:
            r.db("shop").table("orders").insert([{"id": number, "kind": "book"} for number in (1, 2, 3)]).run(conn)
            r.db("rethinkdb").table("users").insert({"id": "shopkeeper", "password": "old"}).run(conn)
            r.db("shop").grant("shopkeeper", {"read": True}).run(conn)
        program = program.replace('"oldhost", 28015', f'"127.0.0.1", {old.driver_port}')
        program = program.replace("28015", str(new.driver_port))
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("".join(outputs), "")
