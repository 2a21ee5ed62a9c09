"""A gateway with several query services, which are killed and come back."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

from photondb.config import Settings
from photondb.reql.errors import ErrorKind
from photondb.rpc.loop import run
from photondb.rpc.query import RemoteQueries
from services.gateway.protocol import frame
from services.gateway.service import Gateway
from tests.gateway.open_auth import OpenAuth
from tests.gateway.raw_client import RawClient
from tests.gateway.remote_query import query_process


def test_clients_are_spread_and_move_when_their_query_service_is_lost(tmp_path: Path) -> None:
    run(spread_and_move(f"unix:{tmp_path}/a", f"unix:{tmp_path}/b"))


async def spread_and_move(a: str, b: str) -> None:
    async with AsyncExitStack() as stack:
        processes = stack.enter_context(ExitStack())
        first, second = (processes.enter_context(query_process(address)) for address in (a, b))
        gateway = Gateway(RemoteQueries(f"{a},{b}"), OpenAuth(), Settings(driver_port=0, http_port=0))  # type: ignore[arg-type]
        await gateway.start()
        stack.push_async_callback(gateway.stop)

        async def connected() -> RawClient:
            client = await RawClient.connect(gateway)
            stack.push_async_callback(client.close)
            return client

        clients, served_by = [], []
        # The first ones may find only one of the two connected; then it is the other one's turn.
        while not clients or served_by.count(first.pid) != served_by.count(second.pid):
            clients.append(await connected())
            served_by.append(await clients[-1].ask(1, 1, "who", {}))

        for client in clients:
            client.send(frame(2, b'[1,"hold",{}]'))
            assert await client.ask(3, 1, "sent after it", {}) == "sent after it"
        os.kill(first.pid, signal.SIGKILL)
        for client, pid in zip(clients, served_by, strict=True):
            if pid == first.pid:
                token, response = await client.read_answer()
                assert (token, response["e"]) == (2, ErrorKind.OP_INDETERMINATE)
            assert await client.ask(4, 1, "who", {}) == second.pid

        third = processes.enter_context(query_process(a))
        newcomer = await connected()
        while await newcomer.ask(1, 1, "who", {}) != third.pid:
            await asyncio.sleep(0.05)
            newcomer = await connected()
        assert [await client.ask(5, 1, "who", {}) for client in clients] == [second.pid] * len(clients)
