"""What a client sees when a service dies, hangs, restarts, or was never there."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from photondb.api.context import INTERNAL, CallContext
from photondb.reql.errors import ErrorKind
from photondb.rpc.connect import ConnectOptions
from photondb.rpc.errors import ConnectionLost, DeadlineExceeded, ServiceUnavailable
from photondb.rpc.remote import Method
from photondb.rpc.servant import servant
from photondb.rpc.serve import RpcServer
from tests.rpc.probe import PROBE, Probe, ProbeStub, probing, process, rpc_test, served
from tests.rpc.relay import relay


def within(seconds: float) -> CallContext:
    return CallContext(deadline=time.monotonic() + seconds)


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"unix:{tmp_path}/probe"


@rpc_test
async def test_calls_go_through(address: str) -> None:
    async with probing(Probe(), address) as stub:
        assert await stub.echo(b"one", b"", b"three") == [b"one", b"", b"three"]
        assert await stub.echo() == []


@rpc_test
async def test_tcp() -> None:
    async with probing(Probe(), "tcp:127.0.0.1:0") as stub:
        assert await stub.echo(b"x", bulk=True) == [b"x"]


@pytest.mark.parametrize("protocol", ["unix", "tcp"])
@rpc_test
async def test_pings_do_not_disturb_calls(address: str, protocol: str) -> None:
    async with served(servant(PROBE.Probe, Probe()), address if protocol == "unix" else "tcp:127.0.0.1:0") as bound:
        stub = ProbeStub(bound, ConnectOptions(ping_every_ms=1))
        for number in range(100):
            batches = [bytes([number, other]) * (1 << number % 20) for other in range(3)]
            assert await asyncio.gather(*map(stub.echo, batches)) == [[batch] for batch in batches]
        await stub.close()


@rpc_test
async def test_many_calls_are_answered_each_with_its_own_answer(address: str) -> None:
    async with probing(Probe(), address) as stub:
        answers = await asyncio.gather(*(stub.echo(b"%d" % number) for number in range(500)))
        assert answers == [[b"%d" % number] for number in range(500)]


@pytest.mark.parametrize(("effects", "kind"), [(True, ErrorKind.OP_INDETERMINATE), (False, ErrorKind.OP_FAILED)])
@rpc_test
async def test_a_service_that_is_killed_in_mid_call(address: str, effects: bool, kind: ErrorKind) -> None:
    with process(address) as service:
        stub = ProbeStub(address)
        call = asyncio.create_task(stub.wait(effects=effects))
        await stub.until("waiting", 1)
        os.kill(service.pid, signal.SIGKILL)
        with pytest.raises(ServiceUnavailable, match="connection to the probe service was lost") as caught:
            await call
        assert caught.value.kind is kind

    waits = asyncio.create_task(stub.echo(b"for the new one"))
    with process(address):
        assert await waits == [b"for the new one"]
        assert await stub.echo(b"again", bulk=True) == [b"again"]
    await stub.close()


@rpc_test
async def test_a_call_after_a_lost_one_waits_for_the_new_connection(address: str) -> None:
    with process(address) as service:
        stub = ProbeStub(address)
        await stub.echo()
        os.kill(service.pid, signal.SIGKILL)
        with pytest.raises(ConnectionLost):
            await stub.wait()
        with pytest.raises(ServiceUnavailable, match="cannot be reached") as caught:
            await stub.echo(context=within(0.2))
        assert not isinstance(caught.value, ConnectionLost)
    await stub.close()


@rpc_test
async def test_a_service_that_hangs_ends_the_call_at_its_deadline(address: str) -> None:
    with process(address) as service:
        stub = ProbeStub(address)
        await stub.echo()
        os.kill(service.pid, signal.SIGSTOP)
        with pytest.raises(DeadlineExceeded, match="probe service did not answer before the deadline"):
            await stub.echo(b"anybody?", context=within(0.2))
        os.kill(service.pid, signal.SIGCONT)
        assert await stub.echo(b"back") == [b"back"]
        await stub.close()


@rpc_test
async def test_a_service_that_hangs_for_long_counts_as_lost(address: str) -> None:
    with process(address) as service:
        stub = ProbeStub(address, ConnectOptions(ping_every_ms=100, ping_timeout_ms=500, connect_timeout_ms=500))
        call = asyncio.create_task(stub.wait())
        await stub.until("waiting", 1)
        os.kill(service.pid, signal.SIGSTOP)
        with pytest.raises(ConnectionLost):
            await call
        with pytest.raises(ServiceUnavailable, match="it does not answer"):
            await stub.echo(context=within(3))  # it still accepts connections: its kernel does
        os.kill(service.pid, signal.SIGCONT)
        assert await stub.echo(b"back") == [b"back"]
        await stub.close()


@rpc_test
async def test_a_service_that_is_busy_with_long_calls_and_answers_is_not_lost(address: str) -> None:
    # Each way takes three times as long as a ping may be unanswered, and the pings have to wait behind it.
    timeout_ms, pieces = 1_000, 60
    data = random.Random(1).randbytes(pieces * 65_536)
    async with probing(Probe(), address):
        slow = f"{address}-slow"
        async with relay(slow, address, pause_s=3 * timeout_ms / 1000 / pieces):
            stub = ProbeStub(slow, ConnectOptions(ping_every_ms=50, ping_timeout_ms=timeout_ms))
            assert await stub.echo(data) == [data]
            await stub.close()


@rpc_test
async def test_a_deadline_that_has_passed_is_not_even_sent(address: str) -> None:
    probe = Probe()
    async with probing(probe, address) as stub:
        await stub.echo()
        with pytest.raises(DeadlineExceeded, match="before the call was made"):
            await stub.echo(context=within(-1))
        assert probe.calls == 1


@rpc_test
async def test_a_deadline_is_no_error_when_the_call_is_in_time(address: str) -> None:
    async with probing(Probe(), address) as stub:
        assert await stub.echo(b"in time", context=within(60)) == [b"in time"]


@rpc_test
async def test_nobody_at_the_address(address: str) -> None:
    stub = ProbeStub(address, ConnectOptions(reconnect_wait_ms=500))
    with pytest.raises(ServiceUnavailable, match=r"probe service at unix:.*probe cannot be reached: .*No such file"):
        await stub.echo()
    await stub.close()


@rpc_test
async def test_another_service_at_the_address(address: str) -> None:
    other = Probe()
    other.service = "oracle"
    async with probing(other, address) as stub:
        with pytest.raises(ServiceUnavailable, match="is the oracle service, not the probe service"):
            await stub.echo(context=within(1))


@rpc_test
async def test_a_peer_that_speaks_something_else(address: str) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com ESMTP\r\n" * 10)
        await reader.read(-1)
        writer.close()

    async with await asyncio.start_unix_server(greet, address.removeprefix("unix:")):
        stub = ProbeStub(address)
        with pytest.raises(ServiceUnavailable, match="cannot be reached"):
            await stub.echo(context=within(0.3))
        await stub.close()


@rpc_test
async def test_a_closed_client(address: str) -> None:
    async with probing(Probe(), address) as stub:
        call = asyncio.create_task(stub.wait())
        await stub.until("waiting", 1)
        await stub.close()
        with pytest.raises(ServiceUnavailable):
            await call
        with pytest.raises(ServiceUnavailable, match="was closed"):
            await stub.echo()
        await stub.close()


@rpc_test
async def test_a_server_that_closes_lets_calls_finish(address: str) -> None:
    async with probing(Probe(), address) as stub:
        await stub.echo()
        release = asyncio.Event()

        class Slow(Probe):
            async def wait(self, call: object) -> None:
                self.waiting += 1
                await release.wait()
                call.results.ok = None  # type: ignore[attr-defined]

        slow = Slow()
        server = RpcServer(servant(PROBE.Probe, slow))
        second = await server.listen(address + "2")
        other = ProbeStub(str(second))
        call = asyncio.create_task(other.wait())
        while not slow.waiting:
            await asyncio.sleep(0.005)
        closing = asyncio.create_task(server.close(drain_ms=10_000))
        await asyncio.sleep(0.01)
        assert not closing.done()
        release.set()
        await call
        await closing
        await other.close()


@rpc_test
async def test_short_calls_do_not_share_a_connection_with_bulk_transfers(address: str) -> None:
    async with probing(Probe(), address) as stub:
        await stub.echo()
        short = stub.client._short.connection
        assert stub.client._bulk.connection is None
        await stub.echo(bulk=True)
        assert stub.client._bulk.connection is not None
        assert stub.client._bulk.connection is not short


@rpc_test
async def test_dropping_the_handle_frees_it_in_the_service(address: str) -> None:
    probe = Probe()
    async with probing(probe, address) as stub:
        handle = await stub.open()
        assert probe.open_handles == 1
        await handle.call(Method("touch"), INTERNAL)
        del handle
        await stub.until("open", 0)


@rpc_test
async def test_closing_the_handle_frees_it_once(address: str) -> None:
    probe = Probe()
    async with probing(probe, address) as stub:
        handle = await stub.open()
        await handle.call(Method("close"), INTERNAL)
        assert probe.open_handles == 0
        await handle.call(Method("close"), INTERNAL)
        del handle
        await stub.echo()
        await asyncio.sleep(0.01)
        assert probe.open_handles == 0


@rpc_test
async def test_a_client_that_vanishes_while_it_holds_a_handle(address: str) -> None:
    async with probing(Probe(), address) as stub:
        script = (
            "import asyncio, sys\n"
            "from tests.rpc.probe import *\n"
            "async def hold():\n"
            "    stub = ProbeStub(sys.argv[1])\n"
            "    handles = [await stub.open() for _ in range(3)]\n"
            "    await stub.wait()\n"
            "run(hold())\n"
        )
        client = await asyncio.create_subprocess_exec(sys.executable, "-c", script, address)
        await stub.until("open", 3)
        await stub.until("waiting", 1)
        client.kill()
        await client.wait()
        await stub.until("open", 0)
        await stub.until("cancelled", 1)


@rpc_test
async def test_a_handle_of_a_lost_connection_stays_dead(address: str) -> None:
    async with served(servant(PROBE.Probe, Probe()), address):
        stub = ProbeStub(address)
        handle = await stub.open()
        first = stub.client._short.connection
    while stub.client._short.connection is first:
        await asyncio.sleep(0.005)
    async with served(servant(PROBE.Probe, Probe()), address):
        assert await stub.echo(b"new connection") == [b"new connection"]
        with pytest.raises(ConnectionLost):
            await handle.call(Method("touch"), INTERNAL)
        await stub.close()
