"""Traces as a collector sees them: one tree per query, from the client's socket to the disk and to the feeds."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from rethinkdb import r
from rethinkdb.errors import ReqlError
from rethinkdb.net import Cursor

from benchmarks.raw_connection import RawConnection
from tests.post_server import post_server
from tests.running_suite import RunningSuite
from tests.telemetry.otlp_sink import OtlpSink, Span, otlp_sink

CLIENT = bytes.fromhex("c1" * 8)
"""The span of the client that all traces here begin with."""


class Traced:
    """A suite that sends its traces to a sink, and what was asked of it."""

    def __init__(self, suite: RunningSuite, sink: OtlpSink, processes: bool) -> None:
        self.suite = suite
        self.sink = sink
        self.processes = processes
        self.connection = r.connect(port=suite.driver_port)
        self._traces: dict[str, bytes] = {}
        self._trees: dict[bytes, Span] = {}

    def option(self, name: str) -> str:
        """The run option with which a query is found again by that name."""
        self._traces[name] = secrets.token_bytes(16)
        return f"00-{self._traces[name].hex()}-{CLIENT.hex()}-01"

    def run(self, name: str, query: Any, **options: Any) -> Any:
        """Run a query, and give its answer (a list of its rows), or the text of the error."""
        try:
            answer = query.run(self.connection, traceparent=self.option(name), **options)
            return list(answer) if isinstance(answer, Cursor) else answer
        except ReqlError as error:
            return error.message

    def has_arrived(self, name: str) -> bool:
        """Whether the sink has the span with which the query of that name began."""
        return any(span.name == "query" and span.trace_id == self._traces[name] for span in self.sink.spans)

    def finish(self) -> None:
        """Take all traces in."""
        self.sink.wait_until_quiet()
        self._trees = self.sink.trees(frozenset({CLIENT}))

    def tree(self, name: str) -> Span:
        """The tree of the query of that name."""
        return self._trees[self._traces[name]]

    def rpc(self, name: str, *children: Any) -> list[Any]:
        """The spans of a call and of what it does, as `shape` shows them: in one process there is no call."""
        if not self.processes:
            return list(children)
        called = (f"photondb.{name}", *children) if children else f"photondb.{name}"
        return [(f"photondb.{name}", called)]

    def query(self, *runs: Any, later: bool = False) -> Any:
        """A query's tree, down from its arrival; whose answer was not ready at once, where it came later."""
        return ("query", *self.rpc("query/submit", *runs, *(self.rpc("gateway/deliver") if later else ())))

    @property
    def publishes(self) -> list[Any]:
        """What follows a commit where nobody needs to know of it: a bus between processes cannot tell."""
        return ["send photondb.changes"] if self.processes else []

    def commit(self) -> Any:
        """The commit of a table that nobody follows."""
        return ("commit", *self.publishes) if self.publishes else "commit"


@pytest.fixture(scope="module", params=[False, True], ids=["one process", "processes"])
def traced(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """A suite after a query of each kind."""
    with otlp_sink() as sink, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        patch.setenv("PHOTONDB_HTTP_ALLOW_PRIVATE", "1")
        data = tmp_path_factory.mktemp("traces") / "data"
        patch.setenv("PHOTONDB_SCAN_WORKERS", "1")
        patch.setenv("PHOTONDB_COLUMN_CACHE_BYTES", "0")
        flags = ("--otlp-endpoint", sink.endpoint)
        with RunningSuite(data, processes=request.param, arguments=flags) as suite:
            traced = Traced(suite, sink, request.param)
            _ask(traced)
            traced.finish()
            yield traced


def _ask(traced: Traced) -> None:
    """Run a query of each kind. The ones without a name come first so that later ones find a plan."""
    connection, run, t = traced.connection, traced.run, r.table("t")
    r.table_create("t").run(connection)
    t.index_create("a").run(connection)
    t.index_wait().run(connection)
    t.insert([{"id": number, "a": number % 10} for number in range(1000)]).run(connection)
    t.get(0).run(connection)
    t.get(0).update({"a": 0}).run(connection)
    t.get(0).update({"a": 0}, durability="soft").run(connection)
    t.between(1, 9).limit(3).run(connection)

    assert run("point read", t.get(1)) == {"id": 1, "a": 1}
    assert run("new point read", t.get(1).pluck("id")) == {"id": 1}
    assert len(run("short read", t.between(5, 9).limit(3))) == 3
    assert run("scan", t.filter(r.row["a"] > 4).count()) == 500
    assert len(run("index read", t.get_all(3, index="a"))) == 100
    assert len(run("cursor", t, max_batch_rows=400)) == 1000
    assert run("hard write", t.get(0).update({"a": 11}))["replaced"] == 1
    assert run("soft write", t.get(0).update({"a": 12}, durability="soft"))["replaced"] == 1
    assert run("evaluated write", t.filter({"a": 12}).update({"a": 13}))["replaced"] == 1
    assert run("atomic", t.get(0).update({"a": r.row["a"] + 1}), atomic=True)["replaced"] == 1
    assert run("javascript", r.js("1 + 1")) == 2
    assert run("noreply", t.get(2).update({"a": 20}), noreply=True) is None
    connection.noreply_wait()
    assert "Unrecognized" in run("compile error", t.get_all(1, nonsense=1))
    assert "No attribute" in run("run error", t.get(1)["missing"])
    assert "does not exist" in run("no table", r.table("missing").get(1))
    users = r.db("rethinkdb").table("users")
    assert run("password", users.insert({"id": "ann", "password": "hunter2"}))["inserted"] == 1
    t.get(1).run(connection, traceparent=traced.option("not sampled").removesuffix("1") + "0")
    t.get(1).run(connection, traceparent="what is this?")


def test_reads(traced: Traced) -> None:
    read = "read documents"
    assert traced.tree("point read").shape() == traced.query(("get t", *traced.rpc("storage/get", read)))
    assert traced.tree("new point read").shape() == traced.query(
        ("pluck t", ("plan", "compile"), ("read", *traced.rpc("storage/get", read))), later=True
    )
    short = ("limit t", *traced.rpc("storage/shortScans", "scan"))
    assert traced.tree("short read").shape() == traced.query(short, later=True)
    steps = (("plan", "compile"), ("get_all", "table"), ("read", *traced.rpc("storage/scan", "scan")))
    assert traced.tree("index read").shape() == traced.query(("get_all t", *steps), later=True)
    (count,) = traced.tree("scan").find("count")
    (scanning,) = count.find("read")
    assert scanning in count.children
    assert len(scanning.find("scan")) == 1


def test_a_cursor_s_batches_are_part_of_its_query(traced: Traced) -> None:
    tree = traced.tree("cursor")
    assert tree.name == "query"
    assert len(tree.find("continue")) == 3
    assert all(batch in tree.children for batch in tree.find("continue"))
    assert len(tree.find("scan")) > 1


def test_writes(traced: Traced) -> None:
    commit = traced.commit()
    hard = ("write documents", commit, "sync write-ahead log")
    update = ("update t", *traced.rpc("storage/write", hard))
    assert traced.tree("hard write").shape() == traced.query(update, later=True)
    soft = ("write documents", commit)
    update = ("update t", *traced.rpc("storage/write", soft))
    assert traced.tree("soft write").shape() == traced.query(update, later=True)
    (noreply,) = traced.tree("noreply").find("update t")
    assert noreply.shape() == ("update t", *traced.rpc("storage/write", hard))
    (evaluated,) = traced.tree("evaluated write").find("write")
    assert evaluated.shape() == ("write", *traced.rpc("storage/write", hard))


def test_what_a_scan_worker_does_is_part_of_the_scan(traced: Traced) -> None:
    connection, large = r.connect(port=traced.suite.driver_port), r.table("large")
    r.table_create("large").run(connection)
    large.insert([{"id": number, "text": "x" * 1_000_000} for number in range(18)], durability="soft").run(connection)
    total = large.map(lambda row: row["id"]).sum()
    worker: list[Span] = []
    for attempt in range(200):  # until a worker has been started
        name = f"sum {attempt}"
        assert traced.run(name, total) == 153
        traced.sink.wait_for(lambda: traced.has_arrived(name))  # noqa: B023
        worker = [span for span in traced.sink.spans if span.name == "scan by worker"]
        if worker:
            break
    traced.finish()
    (scan,) = traced.tree(name).find("scan")
    assert [child.name for child in scan.children] == ["scan by worker"]
    assert scan.children[0].attributes["process.pid"] not in (0, traced.suite.pid)


def test_a_transaction(traced: Traced) -> None:
    (run,) = traced.tree("atomic").find("update t")
    plan, *begin, update, end = run.children = sorted(run.children, key=lambda child: child.start_ns)
    assert plan.shape() == ("plan", "compile")
    assert [call.shape() for call in begin] == traced.rpc("storage/beginTransaction")
    assert len(update.find("write documents")) == 1
    commit = ("commit transaction", "sync write-ahead log", *traced.publishes)
    assert [end.shape()] == traced.rpc("storage/commitTransaction", commit)


def test_errors_are_marked_where_they_happened(traced: Traced) -> None:
    def failed(name: str) -> list[tuple[str, str]]:
        return [(span.name, span.attributes["error.type"]) for span in traced.tree(name).walk() if span.failed]

    run_error = failed("run error")
    assert run_error[0] == ("query", "NON_EXISTENCE")
    assert run_error[-1][1] == "NON_EXISTENCE"
    assert failed("compile error")[0] == ("query", "COMPILE_ERROR")
    assert ("plan", "COMPILE_ERROR") in failed("compile error")
    assert failed("no table")[0] == ("query", "OP_FAILED")
    for name in ("point read", "hard write", "cursor", "noreply", "atomic", "javascript"):
        assert failed(name) == []


def test_no_value_is_told(traced: Traced) -> None:
    (run,) = traced.tree("password").find("insert users")
    assert run.attributes["db.query.text"] == 'r.db("rethinkdb").table("users").insert(?)'
    for span in traced.sink.spans:
        assert "hunter2" not in str(span)


def test_queries_that_the_client_does_not_trace_are_not_traced(traced: Traced) -> None:
    with pytest.raises(KeyError):
        traced.tree("not sampled")


def test_the_attributes_follow_the_conventions(traced: Traced) -> None:
    tree = traced.tree("point read")
    (run,) = tree.find("get t")
    assert tree.kind == "SERVER"
    assert tree.attributes["client.address"].startswith("127.0.0.1:")
    expected = {
        "db.system.name": "photondb",
        "db.operation.name": "get",
        "db.namespace": "test",
        "db.collection.name": "t",
        "db.query.text": 'r.table("t").get(?)',
    }
    assert run.attributes == expected
    if traced.processes:
        called, served = tree.find("photondb.storage/get")
        assert (called.kind, served.kind) == ("CLIENT", "SERVER")
        assert (called.service, served.service) == ("photondb-query", "photondb-storage")
        assert called.attributes == served.attributes
        assert served.attributes == {
            "rpc.system": "capnproto",
            "rpc.service": "photondb.storage",
            "rpc.method": "get",
        }
        assert [span.service for span in tree.walk()] == [
            *("photondb-gateway", "photondb-gateway", "photondb-query", "photondb-query"),
            *("photondb-query", "photondb-storage", "photondb-storage"),
        ]


def test_every_span_lies_within_the_time_of_its_query(traced: Traced) -> None:
    tree = traced.tree("hard write")
    for delivery in tree.find("photondb.gateway/deliver")[:1]:
        assert delivery.service == "photondb-query"
        tree.end_ns = delivery.end_ns  # its return is later than the answer
    assert all(tree.start_ns <= span.start_ns <= span.end_ns <= tree.end_ns for span in tree.walk())


def test_a_delivery_is_part_of_the_commit_s_trace_and_of_the_feed_s(traced: Traced) -> None:
    connection = r.connect(port=traced.suite.driver_port)
    feed = r.table("t").get(7).changes().run(connection, traceparent=traced.option("feed"))
    traced.run("cause", r.table("t").get(7).update({"a": 70}))
    assert next(feed)["new_val"]["a"] == 70
    feed.close()
    traced.finish()
    cause, opened = traced.tree("cause"), traced.tree("feed")
    (delivery,) = cause.find("deliver changes")
    (delivered,) = opened.find("deliver changes")
    (commit,) = cause.find("commit")
    assert commit.shape() == (
        "commit",
        ("send photondb.changes", ("process photondb.changes", "deliver changes")),
    )
    (send,), (process,) = cause.find("send photondb.changes"), cause.find("process photondb.changes")
    assert (send.kind, process.kind) == ("PRODUCER", "CONSUMER")
    assert (delivery.start_ns, delivery.end_ns) == (delivered.start_ns, delivered.end_ns)
    assert delivered.key in delivery.links or delivery.key in delivered.links
    if traced.processes:
        assert (send.service, process.service) == ("photondb-storage", "photondb-changefeed")


def test_what_a_consumer_group_and_a_sink_deliver_is_part_of_the_commit_s_trace(traced: Traced) -> None:
    connection = r.connect(port=traced.suite.driver_port)
    table = r.table("jobs")
    r.table_create("jobs").run(connection)
    posted: list[tuple[str, bytes]] = []

    def take(headers: Mapping[str, str], body: bytes) -> int:
        posted.append((headers.get("traceparent", ""), body))
        return 200

    with post_server(take) as url:
        r.db("rethinkdb").table("sinks").insert(
            {"id": "hook", "db": "test", "table": "jobs", "kind": "webhook", "url": url}
        ).run(connection)
        feed = table.changes(group="workers").run(connection, traceparent=traced.option("group"))
        for number in range(20):  # who reads the log just when a commit is made may deliver it without its trace
            traced.run("job", table.insert({"id": number}))
            assert next(feed)["new_val"]["id"] == number
            traced.sink.wait_for(lambda last=b'"id":%d}' % number: any(last in body for _, body in posted))
            traced.finish()
            job = traced.tree("job")
            if job.find("deliver changes") and job.find("deliver changes to sink"):
                break
    (delivery,), (sent,) = job.find("deliver changes"), job.find("deliver changes to sink")
    (process,) = job.find("process photondb.changes")
    assert {delivery.parent_id, sent.parent_id} == {process.span_id}
    assert delivery.attributes["messaging.consumer.group.name"] == "workers"
    assert (sent.attributes["photondb.sink.id"], sent.kind) == ("hook", "PRODUCER")
    assert posted[-1][0] == f"00-{sent.trace_id.hex()}-{sent.span_id.hex()}-01"
    assert any(delivery.key in other.links or other.key in delivery.links for other in traced.tree("group").walk())
    feed.close()


def test_a_request_over_http_goes_on_with_the_trace_in_its_header(traced: Traced) -> None:
    headers = {"traceparent": traced.option("http"), "tracestate": "vendor=1"}
    url = f"http://127.0.0.1:{traced.suite.http_port}"
    assert httpx.get(f"{url}/health/ready", headers=headers).status_code == 200
    assert httpx.get(f"{url}/nowhere", headers={"traceparent": traced.option("not found")}).status_code == 404
    httpx.get(f"{url}/health")
    traced.finish()
    tree = traced.tree("http")
    assert (tree.name, tree.kind, tree.trace_state) == ("GET /health/ready", "SERVER", "vendor=1")
    assert tree.attributes["http.response.status_code"] == 200
    assert {child.name for child in tree.children} == (
        {"photondb.auth/permissions", "photondb.storage/catalogue"} if traced.processes else set()
    )
    assert traced.tree("not found").shape() == "GET"
    assert not [span for span in traced.sink.spans if span.name == "GET /health"]


def test_a_thousand_queries_at_once(traced: Traced) -> None:
    """Reads of one document, of some, and writes, in batches: each has a tree of its own, with all that was done for
    it, and no more."""
    table = [15, ["t"]]
    terms = [[16, [table, number]] for number in range(400)]
    terms += [[71, [[182, [table, number, number + 100]], 3]] for number in range(200)]
    terms += [[53, [[16, [table, number]], {"b": number}]] for number in range(400)]
    names = [f"one of many {number}" for number in range(1000)]
    queries = [[1, term, {"traceparent": traced.option(name)}] for term, name in zip(terms, names, strict=True)]
    with RawConnection(traced.suite.driver_port) as connection:
        connection.burst([[1, terms[0]], [1, terms[400]], [1, terms[600]]])
        responses = connection.burst(queries)
    assert [len(response["r"]) for response in responses] == [1] * 400 + [3] * 200 + [1] * 400
    traced.finish()
    commit = ("write documents", traced.commit(), "sync write-ahead log")
    read = traced.query(("get t", *traced.rpc("storage/get", "read documents")))
    scan = traced.query(("limit t", *traced.rpc("storage/shortScans", "scan")), later=True)
    write = traced.query(("update t", *traced.rpc("storage/write", commit)), later=True)
    trees = [traced.tree(name) for name in names]
    for tree, expected in zip(trees, [read] * 400 + [scan] * 200 + [write] * 400, strict=True):
        assert tree.shape() == expected
    _check_batches([tree.find("read documents")[0] for tree in trees[:400]])
    _check_batches([tree.find("commit")[0] for tree in trees[600:]])
    if traced.processes:
        _check_batches([tree.children[0] for tree in trees])
        _check_batches([tree.find("photondb.storage/shortScans")[0] for tree in trees[400:600]])


def _check_batches(spans: list[Span]) -> None:
    """What was done for several is one span in the trace of each: the first links to what is above all others, and the
    others to it."""
    batches: dict[tuple[int, int], list[Span]] = {}
    for span in spans:
        batches.setdefault((span.start_ns, span.end_ns), []).append(span)
    assert len(batches) < len(spans) / 5
    for batch in batches.values():
        if len(batch) == 1:
            continue
        assert {span.attributes["photondb.batch.traces"] for span in batch} == {len(batch)}
        linked = {link for span in batch for link in span.links}
        (first,) = [span for span in batch if span.key in linked]
        others = [span for span in batch if span is not first]
        assert all(span.links == {first.key} for span in others)
        parents = {(span.trace_id, span.parent_id) for span in others}
        assert first.links <= parents
        assert len(first.links) == min(len(parents), 128)
