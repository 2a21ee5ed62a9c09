"""What a server bears: garbage, too many calls, too many connections, early data, sockets that were left behind."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from photondb.reql.errors import ErrorKind, ReqlError
from photondb.rpc.connect import ConnectOptions
from photondb.rpc.errors import Overloaded, ServiceUnavailable
from photondb.rpc.servant import servant
from photondb.rpc.serve import RpcServer
from tests.rpc.probe import PROBE, Probe, ProbeStub, probing, rpc_test

GARBAGE = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "random": os.urandom(4096),
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "half a message": b"\x00\x00\x00\x00\x10\x00\x00\x00\x01",
    "a gigantic message": b"\x00\x00\x00\x00\xff\xff\xff\x7f" + bytes(100),
    "a message that is no call": b"\x00\x00\x00\x00\x01\x00\x00\x00" + bytes(8),
}


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"unix:{tmp_path}/probe"


@pytest.mark.parametrize("kind", GARBAGE)
@rpc_test
async def test_garbage_closes_its_own_connection_only(address: str, kind: str) -> None:
    async with probing(Probe(), address) as stub:
        await stub.echo()
        call = asyncio.create_task(stub.wait())
        await stub.until("waiting", 1)

        reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
        writer.write(GARBAGE[kind])
        writer.write_eof()
        while await reader.read(1000):
            pass  # until the server closes it
        writer.close()

        assert await stub.echo(b"still here") == [b"still here"]
        assert not call.done()
        call.cancel()


@rpc_test
async def test_calls_over_the_limit_are_refused_at_once(address: str) -> None:
    probe = Probe(max_calls=3)
    async with probing(probe, address) as stub:
        calls = [asyncio.create_task(stub.wait()) for _ in range(3)]
        await stub.until("waiting", 3)  # `counts` is not limited
        with pytest.raises(Overloaded, match="probe service is overloaded: it carries out 3 calls") as caught:
            await stub.echo(b"one too many")
        assert caught.value.kind is ErrorKind.RESOURCE_LIMIT
        assert probe.calls == 0

        calls[0].cancel()
        await stub.until("waiting", 2)
        assert await stub.echo(b"room again") == [b"room again"]
        for call in calls[1:]:
            call.cancel()
        await stub.until("waiting", 0)
    assert probe.admission.in_flight == 0


@rpc_test
async def test_the_limit_holds_for_all_connections_together(address: str) -> None:
    async with probing(Probe(max_calls=1), address) as stub:
        call = asyncio.create_task(stub.wait())
        await stub.until("waiting", 1)
        other = ProbeStub(address)
        with pytest.raises(Overloaded):
            await other.echo()
        await other.close()
        call.cancel()


@rpc_test
async def test_connections_over_the_limit_are_closed(address: str) -> None:
    server = RpcServer(servant(PROBE.Probe, Probe()), max_connections=1)
    await server.listen(address)
    first = ProbeStub(address)
    await first.echo()
    second = ProbeStub(address, ConnectOptions(reconnect_wait_ms=200))
    with pytest.raises(ServiceUnavailable):
        await second.echo()
    await first.close()
    await second.close()
    third = ProbeStub(address)
    assert await third.echo(b"room again") == [b"room again"]
    await third.close()
    await server.close()


@rpc_test
async def test_one_server_at_several_addresses(address: str) -> None:
    server = RpcServer(servant(PROBE.Probe, Probe()))
    addresses = [str(await server.listen(where)) for where in (address, "tcp:127.0.0.1:0", "tcp:[::1]:0")]
    for where in addresses:
        stub = ProbeStub(where)
        assert await stub.echo(where.encode()) == [where.encode()]
        await stub.close()
    await server.close()


@rpc_test
async def test_an_address_in_use(address: str) -> None:
    first, second = RpcServer(servant(PROBE.Probe, Probe())), RpcServer(servant(PROBE.Probe, Probe()))
    port = await first.listen("tcp:127.0.0.1:0")
    await first.listen(address)
    for where in (address, str(port)):
        with pytest.raises(OSError, match="in use"):
            await second.listen(where)
    stub = ProbeStub(address)
    assert await stub.echo(b"the first one") == [b"the first one"]
    await stub.close()
    await first.close()


@rpc_test
async def test_the_socket_of_a_killed_server_is_replaced(address: str) -> None:
    left_behind = socket.socket(socket.AF_UNIX)
    left_behind.bind(address.removeprefix("unix:"))
    left_behind.close()
    async with probing(Probe(), address) as stub:
        assert await stub.echo(b"x") == [b"x"]


def test_a_file_at_the_address_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "probe"
    path.write_text("precious")

    @rpc_test
    async def listen() -> None:
        with pytest.raises(OSError, match="in use"):
            await RpcServer(servant(PROBE.Probe, Probe())).listen(f"unix:{path}")

    listen()
    assert path.read_text() == "precious"


@rpc_test
async def test_the_socket_is_private_and_goes_with_the_server(address: str) -> None:
    path = address.removeprefix("unix:")
    async with probing(Probe(), address):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with pytest.raises(FileNotFoundError):
        os.stat(path)


@rpc_test
async def test_long_answers_come_in_pieces_and_are_whole(address: str) -> None:
    async with probing(Probe(), address) as stub:
        for length in (0, 1, 4 << 20, (4 << 20) + 1, 20 << 20, 200 << 20):
            assert len(await stub.blob(length, whole=False)) == length


@rpc_test
async def test_a_message_over_the_limit_is_an_error_of_the_call(address: str) -> None:
    async with probing(Probe(), address) as stub:
        assert len(await stub.blob(100 << 20, whole=True)) == 100 << 20
        with pytest.raises(ReqlError, match="does not fit into 134217728 bytes") as caught:
            await stub.blob(130 << 20, whole=True)
        assert caught.value.kind is ErrorKind.RESOURCE_LIMIT
        with pytest.raises(ReqlError, match="does not fit into 134217728 bytes"):
            await stub.echo(bytes(130 << 20))
        assert await stub.echo(b"the connection still stands") == [b"the connection still stands"]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for `photondb.test`, with its key in the same file."""
    path = tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=photondb.test", "-addext", "subjectAltName=DNS:photondb.test"),
            *("-keyout", path, "-out", tmp_path / "public.pem"),
        ],
        check=True,
        capture_output=True,
    )
    path.write_bytes(path.read_bytes() + (tmp_path / "public.pem").read_bytes())
    return path


@rpc_test
async def test_tls(certificate: Path) -> None:
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(certificate)
    client_context = ssl.create_default_context(cafile=str(certificate))
    server = RpcServer(servant(PROBE.Probe, Probe()))
    address = str(await server.listen("tcp:127.0.0.1:0", server_context))

    stub = ProbeStub(address, ConnectOptions(tls=client_context, tls_name="photondb.test"))
    assert await stub.echo(b"secret", os.urandom(1 << 20)) != []
    assert len(await stub.blob(20 << 20, whole=False)) == 20 << 20
    assert await asyncio.gather(*(stub.echo(b"%d" % i) for i in range(50))) == [[b"%d" % i] for i in range(50)]
    await stub.close()

    # While its peer is pinged, what passes over a connection is watched, which must not change it.
    pinging = ProbeStub(address, ConnectOptions(tls=client_context, tls_name="photondb.test", ping_every_ms=1))
    for number in range(100):
        data = bytes([number]) * (1 << number % 20)
        assert await pinging.echo(data) == [data]
    await pinging.close()

    wrong_name = ProbeStub(address, ConnectOptions(tls=client_context, reconnect_wait_ms=1000))
    with pytest.raises(ServiceUnavailable, match="certificate verify failed"):
        await wrong_name.echo()
    await wrong_name.close()

    without_tls = ProbeStub(address, ConnectOptions(reconnect_wait_ms=300))
    with pytest.raises(ServiceUnavailable):
        await without_tls.echo()
    await without_tls.close()

    again = ProbeStub(address, ConnectOptions(tls=client_context, tls_name="photondb.test"))
    assert await again.echo(b"still here") == [b"still here"]
    await again.close()
    await server.close()


EARLY_DATA = """
import asyncio, socket, sys, threading
from photondb.rpc.loop import run
from photondb.rpc.servant import servant
from photondb.rpc.serve import RpcServer
from tests.rpc.probe import PROBE, Probe, ProbeStub

async def main():
    server = RpcServer(servant(PROBE.Probe, Probe()))
    path = sys.argv[1]
    await server.listen("unix:" + path)
    peers = []
    for _ in range(20):  # connected, and with data under way, before the server has accepted any of them
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(path)
        peer.sendall(b"x" * 100_000)
        peers.append(peer)
    stub = ProbeStub("unix:" + path)
    assert await stub.echo(b"alive") == [b"alive"]
    await stub.close()
    for peer in peers:
        peer.close()
    await server.close()

run(main())
"""


def test_data_that_arrives_before_the_server_reads_does_not_crash_it(tmp_path: Path) -> None:
    """pycapnp on uvloop without our protection crashes at more than half of such starts."""
    repository = Path(__file__).parents[2]
    for start in range(30):
        done = subprocess.run(
            [sys.executable, "-c", EARLY_DATA, f"{tmp_path}/{start}"], cwd=repository, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
