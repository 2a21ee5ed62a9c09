"""Start a front alone, with its settings from the environment."""

from __future__ import annotations

import asyncio
import contextlib
import sys

from photondb.api.context import INTERNAL
from photondb.cli.hosting import connect_options, join_bus, storage_of
from photondb.cli.observing import observing, serving_telemetry
from photondb.cli.probing import storage_probes
from photondb.cli.service import ReportReady, run_service
from photondb.config import Settings
from photondb.rpc.auth import AuthStub
from photondb.rpc.changefeed import ChangefeedStub
from photondb.rpc.metrics import RpcMetrics
from services.gateway.pool import QueryHere
from services.gateway.service import Gateway
from services.query.limits import QueryLimits
from services.query.service import Query


async def serve(settings: Settings, report_ready: ReportReady) -> None:
    """Serve until cancelled."""
    options = connect_options(settings)
    async with contextlib.AsyncExitStack() as stack:
        observation = await stack.enter_async_context(observing(settings, "front"))
        telemetry_port = await stack.enter_async_context(serving_telemetry(settings, observation))
        bus = await join_bus(settings)
        stack.push_async_callback(bus.close)
        observation.watch_bus(bus)
        storage = storage_of(settings, options)
        stack.push_async_callback(storage.close)
        auth = AuthStub(settings.address_of("auth"), options)
        stack.push_async_callback(auth.close)
        observation.auth = auth
        changefeed = ChangefeedStub(settings.address_of("changefeed"), options)
        stack.push_async_callback(changefeed.close)
        query = Query(storage, bus, auth, changefeed, QueryLimits.of(settings), settings.default_shards)
        await query.start()
        stack.push_async_callback(query.stop)
        gateway = Gateway(
            QueryHere(query),
            auth,
            settings,
            probes=storage_probes(storage),
            routes=observation.public_routes(),
            busy_poll_us=settings.busy_poll_us or 0,
        )
        await gateway.start()
        stack.push_async_callback(gateway.stop)
        for part in (query, gateway, RpcMetrics("front")):
            observation.watch(part)
        stack.push_async_callback(observation.stop)
        observation.started(gateway.probes)
        status = await gateway.status(INTERNAL)
        report_ready(
            {
                "driver_port": status.driver_port,
                "http_port": status.http_port,
                "telemetry_port": telemetry_port,
            }
        )
        await asyncio.Event().wait()


if __name__ == "__main__":
    sys.exit(run_service("front", serve))
