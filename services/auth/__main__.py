"""Start the auth service alone, with its settings from the environment."""

from __future__ import annotations

import asyncio
import contextlib
import sys

from photondb.cli.hosting import connect_options, serving
from photondb.cli.observing import observing, serving_telemetry
from photondb.cli.probing import storage_probes
from photondb.cli.service import ReportReady, run_service
from photondb.config import Settings
from photondb.rpc.auth import auth_servant
from photondb.rpc.metrics import RpcMetrics
from photondb.rpc.storage import StorageStub
from services.auth.service import Auth


async def serve(settings: Settings, report_ready: ReportReady) -> None:
    """Serve until cancelled."""
    async with contextlib.AsyncExitStack() as stack:
        observation = await stack.enter_async_context(observing(settings, "auth"))
        telemetry_port = await stack.enter_async_context(serving_telemetry(settings, observation))
        storage = StorageStub(settings.address_of("storage"), connect_options(settings))
        stack.push_async_callback(storage.close)
        auth = Auth(storage, settings.admin_password or "")
        await auth.start()
        stack.push_async_callback(auth.stop)
        observation.auth = auth
        await stack.enter_async_context(serving(settings, "auth", auth_servant(auth)))
        observation.watch(auth)
        observation.watch(RpcMetrics("auth"))
        stack.push_async_callback(observation.stop)
        observation.started(storage_probes(storage))
        report_ready({"telemetry_port": telemetry_port})
        await asyncio.Event().wait()


if __name__ == "__main__":
    sys.exit(run_service("auth", serve))
