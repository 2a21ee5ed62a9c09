"""Sinks, with HTTP and NATS servers of the tests' own."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rethinkdb import r
from rethinkdb.ast import Func, ReQLEncoder

from services.changefeed.sink_targets import TIMEOUT_S
from tests.changefeed.sink_servers import Endpoint, JetStreamServer, answers, until
from tests.running_suite import RunningSuite

SINKS = r.db("rethinkdb").table("sinks")
EVEN = ReQLEncoder().encode(Func(lambda row: row["n"] % 2 == 0))


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    yield endpoint
    endpoint.shutdown()
    endpoint.server_close()


@pytest.fixture(params=[False, True], ids=["one process", "processes"])
def suite(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningSuite]:
    monkeypatch.setenv("PHOTONDB_HTTP_ALLOW_PRIVATE", "1")
    with RunningSuite(tmp_path / "data", processes=request.param) as running:
        yield running
        print(running.log)  # which pytest shows with a failure


@pytest.fixture
def conn(suite: RunningSuite) -> Iterator[Any]:
    with r.connect(port=suite.driver_port) as connection:
        r.table_create("t").run(connection)
        yield connection


def webhook(endpoint: Endpoint, **fields: Any) -> dict[str, Any]:
    return {"id": "hook", "db": "test", "table": "t", "kind": "webhook", "url": endpoint.url, **fields}


def numbers(*values: int) -> list[dict[str, int]]:
    return [{"id": value % 5, "n": value} for value in values]


def put(conn: Any, *values: int) -> None:
    for value in values:
        r.table("t").insert({"id": value % 5, "n": value}, conflict="replace").run(conn)


def test_a_webhook_gets_signed_batches(conn: Any, endpoint: Endpoint) -> None:
    put(conn, 0)
    made = SINKS.insert(webhook(endpoint, secret="s3cret", filter=EVEN), return_changes=True).run(conn)
    assert made["inserted"] == 1, made
    assert made["changes"][0]["new_val"]["secret"] is True
    put(conn, 1, 2, 3, 5)
    r.table("t").get(2).delete().run(conn)
    until(lambda: len(endpoint.changes()) == 3)
    assert [(change["old_val"], change["new_val"]) for change in endpoint.changes()] == [
        (None, {"id": 2, "n": 2}),
        ({"id": 0, "n": 0}, None),  # 5 is odd: it is no longer among what the filter lets through
        ({"id": 2, "n": 2}, None),
    ]
    for headers, body in endpoint.batches:
        expected = hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
        assert headers["X-PhotonDB-Signature"] == f"sha256={expected}"
        assert headers["X-PhotonDB-Sink"] == "hook"
        assert {name: json.loads(body)[name] for name in ("db", "table", "sink")} == {
            "db": "test",
            "table": "t",
            "sink": "hook",
        }
    until(lambda: SINKS.get("hook")["status"]["behind"].run(conn) == 0)
    status = SINKS.get("hook")["status"].run(conn)
    assert (status["delivered"], status["failures"], status["last_error"]) == (3, 0, None)


def test_an_endpoint_that_fails_gets_all_in_the_end_and_in_order(conn: Any, endpoint: Endpoint) -> None:
    endpoint.broken = True
    SINKS.insert(webhook(endpoint)).run(conn)
    put(conn, *range(20))
    until(lambda: endpoint.attempts >= 2)
    until(lambda: SINKS.get("hook")["status"]["last_error"].run(conn) == "status code 503")
    assert SINKS.get("hook")["status"]["behind"].run(conn) == 20
    endpoint.broken = False
    until(lambda: len(endpoint.numbers()) == 20)
    assert endpoint.numbers() == list(range(20))
    until(lambda: SINKS.get("hook")["status"]["last_error"].run(conn) is None)
    assert SINKS.get("hook")["status"].run(conn)["failures"] == 0


def test_a_sink_goes_on_after_a_crash_and_after_it_was_disabled(
    suite: RunningSuite, conn: Any, endpoint: Endpoint
) -> None:
    SINKS.insert(webhook(endpoint)).run(conn)
    put(conn, *range(10))
    until(lambda: endpoint.numbers() == list(range(10)))
    endpoint.broken = True
    put(conn, *range(10, 20))
    suite.kill()
    endpoint.broken = False
    suite.start()
    with r.connect(port=suite.driver_port) as connection:
        put(connection, *range(20, 30))
        until(lambda: len(endpoint.numbers()) == 30)
        SINKS.get("hook").update({"enabled": False}).run(connection)
        put(connection, 30)
        assert SINKS.get("hook")["enabled"].run(connection) is False
        SINKS.get("hook").update({"enabled": True}).run(connection)
        until(lambda: len(endpoint.numbers()) == 31)
        assert endpoint.numbers() == list(range(31))
        SINKS.get("hook").delete().run(connection)
        assert SINKS.count().run(connection) == 0


def test_a_filter_may_be_the_function_of_an_index(conn: Any, endpoint: Endpoint) -> None:
    r.table("t").index_create("even", lambda row: row["n"] % 2 == 0).run(conn)
    function = r.table("t").index_status("even").run(conn)[0]["function"]
    made = SINKS.insert(webhook(endpoint, filter=r.binary(function))).run(conn)
    assert made["inserted"] == 1, made
    put(conn, 1, 2)
    until(lambda: endpoint.numbers() == [2])


def test_a_dropped_table(conn: Any, endpoint: Endpoint) -> None:
    SINKS.insert(webhook(endpoint)).run(conn)
    put(conn, 1)
    until(lambda: endpoint.numbers() == [1])
    r.table_drop("t").run(conn)
    until(lambda: SINKS.get("hook")["status"]["last_error"].run(conn) == "the table was dropped")
    assert SINKS.get("hook")["table"].run(conn) is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"table": "none"}, "Table `test.none` does not exist."),
        ({"kind": "mail"}, 'In `kind`: Expected "webhook" or "jetstream", got: "mail"'),
        ({"url": "ftp://example.com"}, "In `url`: Expected a URL of the scheme http or https"),
        ({"kind": "jetstream", "url": "nats://example.com", "subject": "a b"}, "In `subject`: Expected words"),
        ({"filter": "row > 1"}, "In `filter`: Expected a function"),
        (
            {"filter": ReQLEncoder().encode(Func(lambda row: r.random() > 0.5))},
            "Could not prove function deterministic",
        ),
        ({"enabled": 1}, "In `enabled`: Expected a boolean"),
        ({"secret": 1}, "In `secret`: Expected a string"),
        ({"colour": "red"}, "Unexpected key(s): colour"),
    ],
)
def test_what_is_no_sink(rows_of: Any, fields: dict[str, Any], message: str) -> None:
    row = {"id": "a", "db": "test", "table": "t", "kind": "webhook", "url": "http://example.com", **fields}
    assert message in SINKS.insert(row).run(rows_of)["first_error"]
    assert SINKS.count().run(rows_of) == 0


@pytest.fixture(scope="module")
def rows_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    suite = RunningSuite(tmp_path_factory.mktemp("data"), processes=False)
    with suite, r.connect(port=suite.driver_port) as connection:
        r.table_create("t").run(connection)
        yield connection


def test_private_addresses_are_refused(rows_of: Any, endpoint: Endpoint) -> None:
    SINKS.insert(webhook(endpoint)).run(rows_of)
    SINKS.insert(
        {"id": "s", "db": "test", "table": "t", "kind": "jetstream", "url": "nats://127.0.0.1", "subject": "a"}
    ).run(rows_of)
    put(rows_of, 1)
    for sink in ("hook", "s"):
        until(lambda sink=sink: "127.0.0.1" in (SINKS.get(sink)["status"]["last_error"].run(rows_of) or ""))  # type: ignore[misc]
        assert "not public" in SINKS.get(sink)["status"]["last_error"].run(rows_of)
    assert endpoint.attempts == 0
    SINKS.delete().run(rows_of)


@pytest.fixture
def jetstream(tmp_path: Path) -> Iterator[JetStreamServer]:
    server = JetStreamServer(tmp_path / "jetstream")
    until(lambda: answers(server.port))
    asyncio.run(server.create_stream())
    yield server
    server.stop()
    server.release()


def test_a_stream_has_each_change_once_whatever_is_killed(
    suite: RunningSuite, conn: Any, jetstream: JetStreamServer
) -> None:
    SINKS.insert(
        {"id": "s", "db": "test", "table": "t", "kind": "jetstream", "url": jetstream.url, "subject": "changes.t"}
    ).run(conn)

    def received() -> list[int]:
        return [message["new_val"]["n"] for _, message in asyncio.run(jetstream.messages())]

    put(conn, *range(20))
    until(lambda: received() == list(range(20)))
    put(conn, *range(20, 40))
    jetstream.stop()
    put(conn, *range(40, 60))
    jetstream.start()
    until(lambda: answers(jetstream.port))
    put(conn, *range(60, 80))
    suite.kill()
    suite.start()
    with r.connect(port=suite.driver_port) as connection:
        put(connection, *range(80, 90))
        until(lambda: len(received()) >= 90)
        assert received() == list(range(90))
        assert {subject for subject, _ in asyncio.run(jetstream.messages())} == {"changes.t"}
        SINKS.get("s").update({"subject": "nobody.listens"}).run(connection)

        def refused() -> bool:
            put(connection, time.monotonic_ns())  # at first it may still go where the sink went before
            error = SINKS.get("s")["status"]["last_error"].run(connection)
            return error == "no stream stores the subject `nobody.listens`"

        until(refused)
        SINKS.get("s").update({"subject": "changes.again"}).run(connection)
        until(lambda: asyncio.run(jetstream.messages())[-1][0] == "changes.again")


def test_a_server_that_dies_with_a_message_is_not_waited_for(conn: Any, jetstream: JetStreamServer) -> None:
    SINKS.insert(
        {"id": "s", "db": "test", "table": "t", "kind": "jetstream", "url": jetstream.url, "subject": "changes.t"}
    ).run(conn)
    put(conn, 0)
    until(lambda: len(asyncio.run(jetstream.messages())) == 1)
    jetstream.suspend()
    put(conn, 1)
    time.sleep(0.3)  # for the sink to send it
    jetstream.stop()
    jetstream.start()
    until(lambda: answers(jetstream.port))
    until(lambda: len(asyncio.run(jetstream.messages())) == 2, wait_s=TIMEOUT_S - 5)
