"""The suite in one process: the five services call each other as the objects that they are."""

from __future__ import annotations

import asyncio

from photondb.bus import LocalBus, NatsBus
from photondb.cli.announcement import announce
from photondb.config import Settings
from photondb.hosting.host import Host, hosting
from photondb.hosting.probing import storage_probes
from photondb.hosting.serving import serving_in_directory
from photondb.rpc.storage_servant import storage_servant
from photondb.telemetry.targets import remove_targets, write_targets
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
    async with hosting(settings, "photondb", with_telemetry_port=bool(settings.telemetry_port)) as host:
        gateway = await _assemble(host)
        host.ready(gateway.probes, driver_port=gateway.driver_port, http_port=gateway.http_port)
        write_targets(settings.data_dir, settings.bind, {"photondb": gateway.http_port})
        announce(settings, gateway.driver_port, gateway.http_port)
        try:
            await asyncio.Event().wait()
        finally:
            remove_targets(settings.data_dir)


async def _assemble(host: Host) -> Gateway:
    """Start all services; gives the one that clients speak to."""
    settings = host.settings
    bus = host.publish_on(await NatsBus.connect(settings.nats_url) if settings.nats_url else LocalBus())
    options, limits = storage_options(settings), transaction_limits(settings)
    storage = await host.start(Storage(settings.data_dir, bus, options=options, transaction_limits=limits))
    await host.enter(serving_in_directory(settings.data_dir, storage_servant(storage)))
    auth = await host.start(Auth(storage, settings.admin_password or ""))
    host.observation.auth = auth
    changefeed = await host.start(Changefeed(storage, bus))
    query = Query(storage, bus, auth, changefeed, QueryLimits.of(settings), settings.default_shards)
    queries = QueryHere(await host.start(query))
    return await host.start(
        Gateway(
            queries,
            auth,
            settings,
            probes=storage_probes(storage),
            routes=host.observation.public_routes(),
            busy_poll_us=default_window_us() if settings.busy_poll_us is None else settings.busy_poll_us,
        )
    )
