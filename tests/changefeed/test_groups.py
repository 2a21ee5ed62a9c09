"""Consumer groups as the official driver sees them, from one process and from five."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from rethinkdb import errors, r

from photondb.api.catalogue import CreateTable, DropTable
from photondb.api.changefeed import FeedRequest
from photondb.api.context import INTERNAL
from photondb.api.feed_records import GROUPS_TABLE, GroupRecord
from photondb.api.storage import LogGap, LogRecord
from photondb.bus import LocalBus
from photondb.hidden_table import HiddenTable
from photondb.reql.errors import ReqlError
from services.changefeed.groups import FeedGroups
from tests.changefeed.conftest import WHOLE, Suite
from tests.changefeed.test_crashes import kill, write
from tests.running_suite import RunningSuite

WAIT_S = 120  # for what must come; that it does not is the failure


@pytest.fixture(scope="module", params=[False, True], ids=["one process", "processes"])
def suite(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    with RunningSuite(tmp_path_factory.mktemp("data"), processes=request.param) as running:
        yield running


@pytest.fixture
def conn(suite: RunningSuite) -> Iterator[Any]:
    with r.connect(port=suite.driver_port) as connection:
        yield connection


names = (f"t{number}" for number in itertools.count())


@pytest.fixture
def table(conn: Any) -> Iterator[Any]:
    name = next(names)
    r.table_create(name).run(conn)
    yield r.table(name)
    r.table_drop(name).run(conn)


class Worker:
    """A consumer with a connection of its own."""

    def __init__(self, suite: RunningSuite, feed: Any) -> None:
        self.conn = r.connect(port=suite.driver_port)
        self.cursor = feed.run(self.conn)

    def work(self, count: int) -> list[int]:
        """The numbers in the next changes."""
        return [self.cursor.next(wait=WAIT_S)["new_val"]["n"] for _ in range(count)]

    def finish(self, count: int = 0) -> list[int]:
        """Take so many, and what comes soon behind them, and thereby acknowledge what came before."""
        found = self.work(count)
        while True:
            try:
                found.append(self.cursor.next(wait=0.3)["new_val"]["n"])
            except errors.ReqlTimeoutError:
                return found

    def close(self) -> None:
        self.conn.close(noreply_wait=False)


def numbers(*values: int) -> list[dict[str, int]]:
    return [{"id": value, "n": value} for value in values]


def test_each_change_goes_to_one_of_the_consumers(suite: RunningSuite, conn: Any, table: Any) -> None:
    workers = [Worker(suite, table.changes(group="workers")) for _ in range(3)]
    other = Worker(suite, table.changes(group="others"))
    for value in range(60):
        table.insert({"id": value, "n": value}).run(conn)
    assert sorted(other.work(60)) == list(range(60))
    found: list[list[int]] = [[] for _ in workers]
    while sum(map(len, found)) < 60:
        for mine, worker in zip(found, workers, strict=True):
            mine += worker.finish()
    assert sorted(itertools.chain(*found)) == list(range(60))
    assert all(found), "all of them had something to do"
    for worker in [*workers, other]:
        worker.close()


def test_what_a_consumer_had_goes_to_another_when_its_connection_goes(
    suite: RunningSuite, conn: Any, table: Any
) -> None:
    first = Worker(suite, table.changes(group="g"))
    table.insert(numbers(1)).run(conn)
    assert first.work(1) == [1]
    second = Worker(suite, table.changes(group="g"))
    first.close()
    assert second.work(1) == [1]
    assert second.finish() == []
    second.close()


def test_what_a_consumer_takes_too_long_for_goes_to_another(suite: RunningSuite, conn: Any, table: Any) -> None:
    slow = Worker(suite, table.changes(group="g", group_timeout=2))
    table.insert(numbers(1)).run(conn)
    assert slow.work(1) == [1]
    other = Worker(suite, table.changes(group="g", group_timeout=2))
    table.get(1).update({"n": 2}).run(conn)
    assert other.work(2) == [1, 2]
    other.finish()
    assert slow.finish() == [], "it is done, by somebody else"
    slow.close()
    other.close()


def test_a_group_outlives_its_consumers(suite: RunningSuite, conn: Any, table: Any) -> None:
    feed = table.filter(r.row["n"] % 2 == 0)["n"].map({"n": r.row}).changes(group="g", include_types=True)
    worker = Worker(suite, feed)
    table.insert(numbers(1, 2)).run(conn)
    assert worker.cursor.next(wait=WAIT_S) == {"old_val": None, "new_val": {"n": 2}, "type": "add"}
    worker.finish()
    worker.close()
    table.insert(numbers(3, 4)).run(conn)
    worker = Worker(suite, feed)
    assert worker.finish(1) == [4]
    worker.close()


def test_unions_of_feeds_acknowledge_as_their_reader_comes(suite: RunningSuite, conn: Any, table: Any) -> None:
    worker = Worker(suite, r.union(table.changes(group="a"), table.get(99).changes()))
    table.insert(numbers(1)).run(conn)
    assert worker.work(1) == [1]
    table.insert(numbers(99)).run(conn)
    worker.work(1)  # of either feed
    worker.close()
    worker = Worker(suite, table.changes(group="a"))
    assert worker.work(1) in ([1], [99])
    worker.close()


def test_consumers_of_another_selection_are_refused(suite: RunningSuite, conn: Any, table: Any) -> None:
    worker = Worker(suite, table.changes(group="g"))
    with pytest.raises(errors.ReqlOpFailedError, match="The group `g` has consumers of another selection"):
        table.filter({"n": 1}).changes(group="g").run(conn)
    worker.close()


def test_a_group_can_be_seen_and_deleted(suite: RunningSuite, conn: Any, table: Any) -> None:
    groups = r.db("rethinkdb").table("feed_groups")
    worker = Worker(suite, table.changes(group="g"))
    info = table.info().run(conn)
    (row,) = groups.filter({"table": info["name"], "name": "g"}).run(conn)
    assert row == {"id": f"{info['id']}/g", "db": "test", "table": info["name"], "name": "g", "behind": 0}
    table.insert(numbers(1, 2)).run(conn)
    assert groups.get(row["id"])["behind"].run(conn) == 2
    assert "can only be deleted" in groups.get(row["id"]).update({"behind": 0}).run(conn)["first_error"]
    assert groups.get(row["id"]).delete().run(conn)["deleted"] == 1
    assert sorted(worker.work(2)) == [1, 2]
    with pytest.raises(errors.ReqlOpFailedError, match="The group `g` was deleted"):
        worker.finish()  # acknowledges what nobody wants to know any more
    worker.close()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (lambda t: t.changes(group=""), "The name of a group cannot be empty."),
        (lambda t: t.changes(group="g", group_timeout=0), "Expected a number of seconds up to 86400 but found 0."),
        (lambda t: t.changes(group="g", include_initial=True), "A group is told of changes from its first use on"),
        (lambda t: t.changes(group="g", squash=True), "A group is told of changes from its first use on"),
        (lambda t: t.union(t).changes(group="g"), "A group cannot share a feed on several selections."),
        (lambda t: t.order_by(index="id").limit(1).changes(group="g"), "A group cannot share a feed on the first"),
    ],
)
def test_what_groups_cannot_do(conn: Any, table: Any, query: Any, message: str) -> None:
    with pytest.raises(errors.ReqlQueryLogicError, match=message):
        query(table).run(conn)


async def test_groups_of_dropped_tables_are_forgotten(suite_of_services: Suite) -> None:
    suite = suite_of_services
    for name in ("kept", "dropped"):
        await suite.change(CreateTable("test", name))
    tables = (await suite.storage.catalogue(INTERNAL)).tables
    for name in ("kept", "dropped"):
        info = tables["test", name]
        feed = await suite.changefeed.open(INTERNAL, FeedRequest(info.id, info.uuid, ranges=WHOLE, group="g"))
        await feed.close()
    records = HiddenTable(suite.storage, GROUPS_TABLE, GroupRecord)
    assert len(await records.all()) == 2
    await suite.change(DropTable("test", "dropped"))
    groups = FeedGroups(suite.storage)
    await groups.forget_dropped(suite.storage)
    assert [record.id for record in await records.all()] == [f"{tables['test', 'kept'].uuid}/g"]


async def test_a_group_that_has_fallen_behind_the_log_says_so(suite_of_services: Suite) -> None:
    suite = suite_of_services
    request = FeedRequest(suite.info.id, suite.info.uuid, ranges=WHOLE, group="g")
    await (await suite.changefeed.open(INTERNAL, request)).close()
    await suite.put({"id": 1})

    async def trimmed(*args: Any) -> list[LogRecord]:
        raise LogGap(5)

    suite.storage.read_log = trimmed  # type: ignore[method-assign]
    feed = await suite.changefeed.open(INTERNAL, request)
    with pytest.raises(ReqlError, match="The log of changes no longer has all that the group `g` did not get"):
        await feed.next(1)
    await feed.close()


@pytest.fixture
async def suite_of_services(tmp_path: Path) -> AsyncIterator[Suite]:
    suite = Suite(tmp_path, LocalBus())
    await suite.start()
    yield suite
    await suite.stop()


@pytest.mark.parametrize("victim", ["services.changefeed", "services.storage", "services.query", "nats-server"])
def test_nothing_is_lost_when_a_program_is_killed(tmp_path: Path, victim: str) -> None:
    """Workers open their feeds again, as a client does. All is done in the end."""
    done: list[list[int]] = [[], []]
    stopped = threading.Event()
    with RunningSuite(tmp_path, processes=True) as suite:
        with r.connect(port=suite.driver_port) as conn:
            r.table_create("t").run(conn)
            r.table("t").changes(group="g").run(conn).close()

        def work(mine: list[int]) -> None:
            while not stopped.is_set():
                try:
                    with r.connect(port=suite.driver_port) as connection:
                        feed = r.table("t").changes(group="g", group_timeout=5).run(connection)
                        while not stopped.is_set():
                            with contextlib.suppress(errors.ReqlTimeoutError):
                                mine.append(feed.next(wait=0.5)["new_val"]["n"])
                except errors.ReqlError:
                    time.sleep(0.05)

        workers = [threading.Thread(target=work, args=(mine,)) for mine in done]
        for worker in workers:
            worker.start()
        try:
            with r.connect(port=suite.driver_port) as conn:
                for number in range(200):
                    if number == 100:
                        kill(suite, victim)
                    write(r.table("t"), conn, number)
            give_up = time.monotonic() + 120
            while {*done[0], *done[1]} != set(range(200)) and time.monotonic() < give_up:
                time.sleep(0.05)
        finally:
            stopped.set()
            for worker in workers:
                worker.join()
    assert {*done[0], *done[1]} == set(range(200))


@pytest.mark.parametrize("crash", [False, True])
def test_a_group_outlives_the_server(tmp_path: Path, crash: bool) -> None:
    with RunningSuite(tmp_path, processes=False) as suite:
        with r.connect(port=suite.driver_port) as conn:
            r.table_create("t").run(conn)
            worker = Worker(suite, r.table("t").changes(group="g"))
            r.table("t").insert(numbers(*range(10))).run(conn)
            assert sorted(worker.work(10)) == list(range(10))
            worker.finish()
            r.table("t").insert(numbers(*range(10, 20))).run(conn)
            worker.work(1)  # and does not come to its end
        if crash:
            suite.kill()
        else:
            suite.stop()
        suite.start()
        worker = Worker(suite, r.table("t").changes(group="g"))
        again = worker.work(10)
        while not set(again) >= set(range(10, 20)):
            again += worker.work(1)
        if not crash:
            assert sorted(again) == list(range(10, 20))
            assert worker.finish() == []
        worker.close()
