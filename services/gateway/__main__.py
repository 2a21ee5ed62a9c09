"""Start the gateway alone, with its settings from the environment."""

from __future__ import annotations

import asyncio
import contextlib
import sys

from photondb.api.context import INTERNAL
from photondb.cli.hosting import connect_options
from photondb.cli.service import ReportReady, run_service
from photondb.config import Settings
from photondb.rpc.auth import AuthStub
from photondb.rpc.query import QueryStub
from photondb.rpc.storage import StorageStub
from services.gateway.service import Gateway


async def serve(settings: Settings, report_ready: ReportReady) -> None:
    """Serve until cancelled."""
    options = connect_options(settings)
    async with contextlib.AsyncExitStack() as stack:
        query = QueryStub(settings.address_of("query"), options)
        stack.push_async_callback(query.close)
        auth = AuthStub(settings.address_of("auth"), options)
        stack.push_async_callback(auth.close)
        storage = StorageStub(settings.address_of("storage"), options)
        stack.push_async_callback(storage.close)

        async def ask_storage() -> None:
            await storage.catalogue(INTERNAL)

        gateway = Gateway(query, auth, settings, probes={"storage": ask_storage})
        await gateway.start()
        stack.push_async_callback(gateway.stop)
        status = await gateway.status(INTERNAL)
        report_ready({"driver_port": status.driver_port, "http_port": status.http_port})
        await asyncio.Event().wait()


if __name__ == "__main__":
    sys.exit(run_service("gateway", serve))
