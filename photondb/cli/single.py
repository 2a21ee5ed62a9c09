"""The suite in one process: the five services call each other as the objects that they are."""

from __future__ import annotations

import asyncio
import contextlib

from photondb.api.context import INTERNAL
from photondb.bus import Bus, LocalBus, NatsBus
from photondb.cli.hosting import serving_in_directory
from photondb.cli.lifetime import announce
from photondb.cli.observing import observing, remove_targets, serving_telemetry, write_targets
from photondb.cli.probing import storage_probes
from photondb.config import Settings
from photondb.rpc.metrics import RpcMetrics
from photondb.rpc.storage import storage_servant
from services.auth.service import Auth
from services.changefeed.service import Changefeed
from services.gateway.busy_polling import default_window_us
from services.gateway.pool import QueryHere
from services.gateway.service import Gateway
from services.query.limits import QueryLimits
from services.query.service import Query
from services.storage.options import storage_options
from services.storage.service import Storage
from services.storage.transactions import transaction_limits


async def run_single(settings: Settings) -> None:
    """Start the suite, say that it is ready, and serve until cancelled; then end it in the reverse order.

    Raises StartupError.
    """
    async with contextlib.AsyncExitStack() as stack:
        observation = await stack.enter_async_context(observing(settings, "photondb"))
        if settings.telemetry_port:
            await stack.enter_async_context(serving_telemetry(settings, observation))
        bus: Bus = await NatsBus.connect(settings.nats_url) if settings.nats_url else LocalBus()
        stack.push_async_callback(bus.close)
        observation.watch_bus(bus)
        storage = Storage(
            settings.data_dir,
            bus,
            options=storage_options(settings),
            transaction_limits=transaction_limits(settings),
        )
        await storage.start()
        stack.push_async_callback(storage.stop)
        await stack.enter_async_context(serving_in_directory(settings.data_dir, storage_servant(storage)))
        auth = Auth(storage, settings.admin_password or "")
        await auth.start()
        stack.push_async_callback(auth.stop)
        observation.auth = auth
        changefeed = Changefeed(storage, bus)
        await changefeed.start()
        stack.push_async_callback(changefeed.stop)
        query = Query(storage, bus, auth, changefeed, QueryLimits.of(settings), settings.default_shards)
        await query.start()
        stack.push_async_callback(query.stop)
        gateway = Gateway(
            QueryHere(query),
            auth,
            settings,
            probes=storage_probes(storage),
            routes=observation.public_routes(),
            busy_poll_us=default_window_us() if settings.busy_poll_us is None else settings.busy_poll_us,
        )
        await gateway.start()
        stack.push_async_callback(gateway.stop)
        for part in (storage, auth, changefeed, query, gateway, RpcMetrics("photondb")):
            observation.watch(part)
        stack.push_async_callback(observation.stop)
        observation.started(gateway.probes)
        status = await gateway.status(INTERNAL)
        stack.callback(remove_targets, settings.data_dir)
        write_targets(settings.data_dir, settings.bind, {"photondb": status.http_port})
        announce(settings, status.driver_port, status.http_port)
        await asyncio.Event().wait()
