"""Start the storage service alone, with its settings from the environment."""

from __future__ import annotations

import asyncio
import contextlib
import sys

from photondb.cli.hosting import connect_options, join_bus, serving, serving_in_directory
from photondb.cli.observing import observing, serving_telemetry
from photondb.cli.service import ReportReady, run_service
from photondb.config import Settings
from photondb.rpc.auth import AuthStub
from photondb.rpc.metrics import RpcMetrics
from photondb.rpc.storage import StorageStub, storage_servant
from services.storage.catalog_state import HOME
from services.storage.options import storage_options
from services.storage.role import NodeRole
from services.storage.service import Storage
from services.storage.transactions import transaction_limits


async def serve(settings: Settings, report_ready: ReportReady) -> None:
    """Serve until cancelled."""
    async with contextlib.AsyncExitStack() as stack:
        observation = await stack.enter_async_context(observing(settings, settings.process_name("storage")))
        telemetry_port = await stack.enter_async_context(serving_telemetry(settings, observation))
        observation.auth = auth = AuthStub(settings.address_of("auth"), connect_options(settings))
        stack.push_async_callback(auth.close)
        bus = await join_bus(settings)
        stack.push_async_callback(bus.close)
        observation.watch_bus(bus)
        addresses = settings.addresses_of_storage()
        # Home reaches all others, and each of these home.
        is_home = settings.storage_node == HOME
        reached = addresses[HOME + 1 :] if is_home else addresses[HOME : HOME + 1]
        stubs = [StorageStub(address, connect_options(settings)) for address in reached]
        for stub in stubs:
            stack.push_async_callback(stub.close)
        role = NodeRole(
            settings.storage_node,
            len(addresses),
            home=None if is_home else stubs[0],
            others=stubs if is_home else (),
        )
        storage = Storage(
            settings.data_dir,
            bus,
            options=storage_options(settings),
            transaction_limits=transaction_limits(settings),
            role=role,
        )
        await storage.start()
        stack.push_async_callback(storage.stop)
        servant = storage_servant(storage)
        await stack.enter_async_context(serving_in_directory(settings.data_dir, servant))
        await stack.enter_async_context(serving(settings, "storage", servant))
        observation.watch(storage)
        observation.watch(RpcMetrics("storage"))
        stack.push_async_callback(observation.stop)
        observation.started({})
        report_ready({"telemetry_port": telemetry_port})
        await asyncio.Event().wait()


if __name__ == "__main__":
    sys.exit(run_service("storage", serve))
