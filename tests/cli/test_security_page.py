"""docs/security.md: its examples do what is said, and the settings that it names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rethinkdb import r
from rethinkdb.errors import ReqlAuthError, ReqlPermissionError

from photondb.config import OPTIONS
from photondb.telemetry.catalogue import BY_NAME
from tests.running_suite import RunningSuite

PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text()


def test_the_settings_exist() -> None:
    variables = {option.variable for option in OPTIONS}
    assert set(re.findall(r"PHOTONDB_[A-Z_]*[A-Z]", PAGE)) - {name + "_FILE" for name in variables} <= variables
    assert set(re.findall(r"`(--[a-z-]+)`", PAGE)) <= {option.flag for option in OPTIONS} | {"--processes"}
    assert set(re.findall(r"photondb_[a-z_]+", PAGE)) <= set(BY_NAME)


def test_the_examples_do_what_is_said(tmp_path: Path) -> None:
    examples = re.findall(r"^    (r\..*\.run\(conn\))$", PAGE, re.MULTILINE)
    assert len(examples) == 4
    with RunningSuite(tmp_path / "data") as suite:
        with r.connect(port=suite.driver_port) as conn:
            for table in ("orders", "payroll"):
                r.table_create(table).run(conn)
            for example in examples:
                answer = eval(example, {"r": r, "conn": conn})
                assert answer.get("errors", 0) == 0
        with pytest.raises(ReqlAuthError):
            r.connect(port=suite.driver_port)
        with r.connect(port=suite.driver_port, user="shop", password="another long one") as shop:
            assert r.table("orders").insert({"id": 1}).run(shop)["inserted"] == 1
            with pytest.raises(ReqlPermissionError):
                r.table("payroll").count().run(shop)
            with pytest.raises(ReqlPermissionError):
                r.db("rethinkdb").table("users").count().run(shop)
        with r.connect(port=suite.driver_port, password="a long one") as admin:
            assert r.table("payroll").count().run(admin) == 0
