"""Start the changefeed service alone, with its settings from the environment."""

from __future__ import annotations

import asyncio
import contextlib
import sys

from photondb.cli.hosting import connect_options, join_bus, serving, storage_of
from photondb.cli.observing import observing, serving_telemetry
from photondb.cli.probing import storage_probes
from photondb.cli.service import ReportReady, run_service
from photondb.config import Settings
from photondb.rpc.auth import AuthStub
from photondb.rpc.changefeed import changefeed_servant
from photondb.rpc.metrics import RpcMetrics
from services.changefeed.service import Changefeed


async def serve(settings: Settings, report_ready: ReportReady) -> None:
    """Serve until cancelled."""
    async with contextlib.AsyncExitStack() as stack:
        observation = await stack.enter_async_context(observing(settings, "changefeed"))
        telemetry_port = await stack.enter_async_context(serving_telemetry(settings, observation))
        observation.auth = auth = AuthStub(settings.address_of("auth"), connect_options(settings))
        stack.push_async_callback(auth.close)
        bus = await join_bus(settings)
        stack.push_async_callback(bus.close)
        observation.watch_bus(bus)
        storage = storage_of(settings, connect_options(settings))
        stack.push_async_callback(storage.close)
        changefeed = Changefeed(storage, bus)
        await changefeed.start()
        stack.push_async_callback(changefeed.stop)
        await stack.enter_async_context(serving(settings, "changefeed", changefeed_servant(changefeed)))
        observation.watch(changefeed)
        observation.watch(RpcMetrics("changefeed"))
        stack.push_async_callback(observation.stop)
        observation.started(storage_probes(storage))
        report_ready({"telemetry_port": telemetry_port})
        await asyncio.Event().wait()


if __name__ == "__main__":
    sys.exit(run_service("changefeed", serve))
