"""Queries as of a time in the past, and the settings that make them possible."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rethinkdb import r

from photondb.reql.errors import ReqlError
from tests.reql.database import RunningDatabase

WRONG = "The change you're trying to make to `rethinkdb.table_config` has the wrong format. "


@pytest.fixture
def database(tmp_path: Path) -> Iterator[RunningDatabase]:
    with RunningDatabase(tmp_path / "data") as database:
        database.run(r.table_create("t"))
        yield database


def set_up(database: RunningDatabase, **settings: Any) -> None:
    result = database.run(r.table("t").config().update(settings))
    assert result.get("first_error") is None
    assert result["replaced"] == 1


def test_settings_are_shown_when_they_are_set(database: RunningDatabase) -> None:
    config = database.run(r.table("t").config())
    assert "history" not in config
    assert "changelog" not in config
    set_up(database, history="48h", changelog={"hours": 1.5, "bytes": 1000})
    found = database.run(r.table("t").config())
    assert found == {**config, "history": "2d", "changelog": {"hours": 1.5, "bytes": 1000}}
    set_up(database, durability="soft")
    assert database.run(r.table("t").config())["history"] == "2d"
    set_up(database, history="90m", changelog=None, durability="hard")
    assert database.run(r.table("t").config()) == {**config, "history": "90m"}
    set_up(database, history=None)
    assert database.run(r.table("t").config()) == config


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"history": "7 days"}, 'In `history`: Expected a duration such as "7d", "12h", "30m" or "90s"; got "7 days"'),
        ({"history": 7}, 'In `history`: Expected a duration such as "7d", "12h", "30m" or "90s"; got 7'),
        ({"changelog": 7}, "In `changelog`: Expected an object with `hours` and `bytes`; got 7"),
        ({"changelog": {"hours": -1}}, "In `changelog`: Expected a positive number of hours; got -1"),
        ({"changelog": {"bytes": 0}}, "In `changelog`: Expected a positive number of bytes; got 0"),
    ],
)
def test_wrong_settings(database: RunningDatabase, settings: dict[str, Any], error: str) -> None:
    assert database.run(r.table("t").config().update(settings))["first_error"] == WRONG + error


def test_queries_read_the_past(database: RunningDatabase) -> None:
    set_up(database, history="7d")
    database.run(r.table("t").insert([{"id": number, "n": 1} for number in range(20)]))
    time.sleep(0.002)  # the driver sends milliseconds
    moment = datetime.fromtimestamp(int(time.time() * 1000) / 1000, UTC)
    time.sleep(0.002)
    database.run(r.table("t").filter(r.row["id"] < 10).update({"n": 2}))
    database.run(r.table("t").get(15).delete())
    past: dict[str, Any] = {"as_of": r.expr(moment)}
    assert database.run(r.table("t").get(3), **past) == {"id": 3, "n": 1}
    assert database.run(r.table("t").get(3)) == {"id": 3, "n": 2}
    assert database.run(r.table("t").get(15)["n"], **past) == 1
    assert database.run(r.table("t").count(), **past) == 20
    assert database.run(r.table("t").filter({"n": 2}).count(), **past) == 0
    assert database.run(r.table("t").sum("n"), **past) == 20
    assert database.run(r.table("t").get_all(1, 15, 30).count(), **past) == 2


def test_what_a_query_of_the_past_must_not_do(database: RunningDatabase) -> None:
    set_up(database, history="7d")
    past: dict[str, Any] = {"as_of": r.expr(datetime.now(UTC))}
    with pytest.raises(ReqlError, match="cannot write"):
        database.run(r.table("t").insert({"id": 1}), **past)
    with pytest.raises(ReqlError, match="cannot be a changefeed"):
        database.run(r.table("t").changes(), **past)
    with pytest.raises(ReqlError, match=r"`as_of` must be a time, not 5\."):
        database.run(r.table("t"), as_of=5)
    with pytest.raises(ReqlError, match="excludes `transaction` and `atomic`"):
        database.run(r.table("t"), atomic=True, **past)
    with pytest.raises(ReqlError, match="has not come yet"):
        database.run(r.table("t"), as_of=r.epoch_time(7e9))
    set_up(database, history=None)
    with pytest.raises(ReqlError, match=r"Table `test\.t` keeps no history"):
        database.run(r.table("t"), **past)
