"""What stands around every handler: errors in band, deadlines, cancellation, and the context."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import pytest

from photondb.api.auth import AuthenticationFailed
from photondb.api.context import CallContext
from photondb.api.storage import LogGap, TableGone
from photondb.reql.errors import ClientError, CompileError, ErrorKind, ReqlError
from photondb.rpc.errors import DeadlineExceeded, InternalError
from photondb.rpc.servant import servant
from tests.rpc.probe import PROBE, Probe, ProbeStub, probing, rpc_test, served
from tests.rpc.relay import relay


@pytest.fixture(params=[(), ("echo", "wait", "fail", "about")], ids=["as tasks", "eagerly"], autouse=True)
def _eager(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers do the same whether they begin as tasks or become some where they wait."""
    monkeypatch.setattr(Probe, "eager", frozenset(request.param))


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"unix:{tmp_path}/probe"


@rpc_test
async def test_errors_are_the_same_on_both_sides(address: str) -> None:
    async with probing(Probe(), address) as stub:
        with pytest.raises(ReqlError, match="Nothing there") as reql:
            await stub.fail("reql")
        assert type(reql.value) is ReqlError
        assert (reql.value.kind, reql.value.frames) == (ErrorKind.NON_EXISTENCE, (0, "index", 2))

        with pytest.raises(ReqlError, match="Mine") as unplaced:
            await stub.fail("reql without frames")
        assert (unplaced.value.kind, unplaced.value.frames) == (ErrorKind.USER, None)

        with pytest.raises(CompileError, match="No such term") as compiling:
            await stub.fail("compile")
        assert compiling.value.frames == (1,)

        with pytest.raises(ClientError, match="No query"):
            await stub.fail("client")
        with pytest.raises(TableGone):
            await stub.fail("table gone")
        with pytest.raises(LogGap) as gap:
            await stub.fail("log gap")
        assert gap.value.oldest == 4_000_000_000_000
        with pytest.raises(AuthenticationFailed, match="Wrong password") as authentication:
            await stub.fail("authentication")
        assert authentication.value.code == 12
        with pytest.raises(ReqlError, match="half a \ufffd character"):
            await stub.fail("surrogate")


@rpc_test
async def test_a_bug_is_told_in_the_log_and_not_on_the_wire(
    tmp_path: Path, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    seen = bytearray()
    async with (
        served(servant(PROBE.Probe, Probe()), address),
        relay(f"unix:{tmp_path}/tap", address, heard=seen),
    ):
        stub = ProbeStub(f"unix:{tmp_path}/tap")
        with pytest.raises(InternalError) as caught:
            await stub.fail("bug", CallContext(request_id="request-77"))
        with pytest.raises(InternalError) as unnamed:
            await stub.fail("bug")
        assert await stub.echo(b"an answer that the tap sees") != []
        await stub.close()

    assert caught.value.kind is ErrorKind.INTERNAL
    assert caught.value.request_id == "request-77"
    assert "request-77" in caught.value.message
    assert unnamed.value.request_id in unnamed.value.message
    assert b"an answer that the tap sees" in seen
    for private in (b"secret", b"ZeroDivision", b"Traceback", b".py"):
        assert private not in seen
    logged = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.__dict__["request_id"] for record in logged] == ["request-77", unnamed.value.request_id]
    assert "the secret of the house" in caplog.text
    assert "in fail" in caplog.text  # the traceback


@rpc_test
async def test_a_cancelled_client_cancels_the_handler(address: str) -> None:
    probe = Probe()
    async with probing(probe, address) as stub:
        call = asyncio.create_task(stub.wait())
        await stub.until("waiting", 1)
        call.cancel()
        await stub.until("cancelled", 1)
        with pytest.raises(asyncio.CancelledError):
            await call
        assert probe.admission.in_flight == 0


@rpc_test
async def test_the_client_gives_up_at_the_deadline_and_cancels_the_handler(address: str) -> None:
    async with probing(Probe(), address) as stub:
        with pytest.raises(DeadlineExceeded):
            await stub.wait(CallContext(deadline=time.monotonic() + 0.05))
        await stub.until("cancelled", 1)


@rpc_test
async def test_the_server_cancels_a_handler_at_the_deadline_by_itself(address: str) -> None:
    async with probing(Probe(), address) as stub:
        await stub.echo()
        connection = stub.client._short.connection
        assert connection is not None
        # As another program might, without a clock of its own.
        request = connection.service._capability._request("wait")
        request.init("context").deadlineMs = 50
        response = await request.send()
        assert response.which() == "error"
        assert response.error.message == "The probe service did not finish before the deadline."
        await stub.until("cancelled", 1)


@rpc_test
async def test_a_handler_that_goes_on_after_its_call_was_cancelled(address: str) -> None:
    """pycapnp crashes when such a handler writes its result."""
    async with probing(Probe(), address) as stub:
        for number in range(20):
            call = asyncio.create_task(stub.fail("swallow"))
            while not call.done() and stub.client._short.connection is None:
                await asyncio.sleep(0.001)
            await stub.echo()
            call.cancel()
            await stub.until("cancelled", number + 1)
        await stub.echo(b"alive")
        with pytest.raises(DeadlineExceeded):
            await stub.fail("swallow", CallContext(deadline=time.monotonic() + 0.05))
        await stub.until("cancelled", 21)


@rpc_test
async def test_what_is_cancelled_inside_a_handler_does_not_cancel_the_call(address: str) -> None:
    async with probing(Probe(), address) as stub:
        with pytest.raises(InternalError):
            await stub.fail("cancelled")


@rpc_test
async def test_the_context_arrives_and_is_current(address: str) -> None:
    async with probing(Probe(), address) as stub:
        context = CallContext(((b"t" * 16, b"s" * 8),), time.monotonic() + 60, "request-1", "ada")
        assert await stub.about(context) == [f"ada|request-1|00-{'74' * 16}-{'73' * 8}-01|True"] * 2
        other = CallContext(user="bob")
        assert await stub.about(other) == ["bob|||False"] * 2


@rpc_test
async def test_a_call_without_a_context_is_nobodys(address: str) -> None:
    async with probing(Probe(), address) as stub:
        await stub.echo()
        connection = stub.client._short.connection
        assert connection is not None
        response = await connection.service._capability._request("about").send()
        assert response.ok[0] == b"|||False"


@rpc_test
async def test_the_deadline_travels_as_what_remains(address: str) -> None:
    deadlines: list[float | None] = []

    class Noting(Probe):
        async def about(self, call: object) -> None:
            deadlines.append(call.context.deadline)  # type: ignore[attr-defined]
            call.results.ok = []  # type: ignore[attr-defined]

    async with probing(Noting(), address) as stub:
        deadline = time.monotonic() + 1000
        await stub.about(CallContext(deadline=deadline))
        await stub.about(CallContext(deadline=time.monotonic() + 1e9))
    assert deadlines[0] is not None
    assert deadlines[0] >= deadline - 0.001  # the clock is the same one here
    assert deadlines[1] is not None


@rpc_test
async def test_every_method_of_every_interface_has_a_handler() -> None:
    from photondb.rpc import auth, changefeed, query, schema, storage_servant

    interfaces = {
        schema.STORAGE.Storage: storage_servant.StorageHandlers,
        schema.STORAGE.ScanCursor: storage_servant._CursorHandlers,
        schema.QUERY.Query: query._QueryHandlers,
        schema.QUERY.QueryChannel: query._ChannelHandlers,
        schema.QUERY.AnswerSink: query._SinkHandlers,
        schema.AUTH.Auth: auth._AuthHandlers,
        schema.CHANGEFEED.Changefeed: changefeed._ChangefeedHandlers,
        schema.CHANGEFEED.Feed: changefeed._FeedHandlers,
    }
    for interface, handlers in interfaces.items():
        for name, method in interface.schema.methods_inherited.items():
            if name != "ping":
                snake_case = "".join("_" + c.lower() if c.isupper() else c for c in name)
                assert callable(getattr(handlers, snake_case)), name
                assert "context" in method.param_type.fieldnames, name
                assert set(method.result_type.union_fields) == {"ok", "error"}, name


@rpc_test
async def test_closing_that_fails_is_logged(address: str, caplog: pytest.LogCaptureFixture) -> None:
    probe = Probe()
    async with probing(probe, address) as stub:
        handle = await stub.open()
        del probe.open_handles  # so that closing the handle fails
        del handle
        while "closing what a peer has dropped failed" not in caplog.text:
            await stub.echo()
