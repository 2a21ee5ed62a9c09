from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from photondb.bus import Bus, LocalBus, NatsBus
from photondb.bus.server import NatsServer


@pytest.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    server = NatsServer(tmp_path)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(params=["local", "nats"])
async def bus(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bus]:
    """A bus of either kind, so that the contract is tested on both."""
    if request.param == "local":
        local = LocalBus()
        yield local
        await local.close()
        return
    server = NatsServer(tmp_path)
    await server.start()
    nats = await NatsBus.connect(server.url)
    yield nats
    await nats.close()
    await server.stop()
