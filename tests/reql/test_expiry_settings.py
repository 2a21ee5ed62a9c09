"""`expire` in a table's configuration: which index says when documents expire."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from rethinkdb import r

from photondb.reql.errors import ReqlError
from tests.reql.database import RunningDatabase

WRONG = "The change you're trying to make to `rethinkdb.table_config` has the wrong format. In `expire`: "
SHAPE = "Expected an object with `index`, the name of an index, and perhaps `after`, a duration; got "


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDatabase]:
    with RunningDatabase(tmp_path_factory.mktemp("expiry") / "data") as running:
        yield running


@pytest.fixture(autouse=True)
def _empty(database: RunningDatabase) -> None:
    database.clear()
    database.run(r.table_create("t"))
    database.run(r.table("t").index_create("until"))
    database.run(r.table("t").index_create("many", multi=True))
    database.run(r.table("t").index_wait())


def set_expire(database: RunningDatabase, expire: Any) -> dict[str, Any]:
    result: dict[str, Any] = database.run(r.table("t").config().update({"expire": r.literal(expire)}))
    return result


def test_it_is_shown_when_it_is_set(database: RunningDatabase) -> None:
    config = database.run(r.table("t").config())
    assert "expire" not in config
    assert set_expire(database, {"index": "until", "after": "24h"})["replaced"] == 1
    assert database.run(r.table("t").config()) == {**config, "expire": {"index": "until", "after": "1d"}}
    database.run(r.table("t").config().update({"history": "1h"}))
    assert database.run(r.table("t").config()["expire"]) == {"index": "until", "after": "1d"}
    set_expire(database, {"index": "until"})
    assert database.run(r.table("t").config()["expire"]) == {"index": "until"}
    set_expire(database, None)
    assert "expire" not in database.run(r.table("t").config())


@pytest.mark.parametrize(
    ("expire", "error"),
    [
        ("until", SHAPE + '"until"'),
        ({"after": "1d"}, SHAPE + '{\n\t"after":\t"1d"\n}'),
        ({"index": 7}, SHAPE + '{\n\t"index":\t7\n}'),
        ({"index": "no"}, "The table has no index `no`, which is to say when documents expire."),
        ({"index": "many"}, "Index `many` is a multi or a geo index: it has no single time for each document."),
        ({"index": "until", "after": 5}, 'Expected a duration such as "7d", "12h", "30m" or "90s"; got 5'),
    ],
)
def test_what_is_wrong_is_said(database: RunningDatabase, expire: Any, error: str) -> None:
    assert set_expire(database, expire)["first_error"] == WRONG + error


def test_its_index_stays_what_it_is(database: RunningDatabase) -> None:
    set_expire(database, {"index": "until"})
    refused = r"Index `until` says when documents of table `test\.t` expire\. Change `expire`"
    with pytest.raises(ReqlError, match=refused):
        database.run(r.table("t").index_drop("until"))
    with pytest.raises(ReqlError, match=refused):
        database.run(r.table("t").index_rename("until", "other"))
    database.run(r.table("t").index_create("fresh", r.row["until"]))
    assert database.run(r.table("t").index_rename("fresh", "until", overwrite=True)) == {"renamed": 1}
    set_expire(database, None)
    assert database.run(r.table("t").index_drop("until")) == {"dropped": 1}
