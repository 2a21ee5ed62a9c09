"""A process that is one part of the suite, or several: what it is put together from, and in which order it ends."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol, TypeVar

from photondb.bus import Bus
from photondb.config import Settings
from photondb.hosting.observing import observing, serving_telemetry
from photondb.hosting.reaching import RemoteNodes, connect_options, join_bus, storage_of
from photondb.hosting.readiness import report_ready
from photondb.hosting.serving import serving
from photondb.rpc.auth import AuthStub
from photondb.rpc.changefeed import ChangefeedStub
from photondb.rpc.metrics import RpcMetrics
from photondb.rpc.storage import StorageStub
from photondb.telemetry.health import Probe
from photondb.telemetry.observation import Observation, Observed

T = TypeVar("T")


class Part(Observed, Protocol):
    """A service as an object in this process."""

    async def start(self) -> None:
        """Begin to work."""
        ...

    async def stop(self) -> None:
        """End in good order."""
        ...


class Closing(Protocol):
    """A connection, or several."""

    async def close(self) -> None:
        """Give it up."""
        ...


PartT = TypeVar("PartT", bound=Part)
ClosingT = TypeVar("ClosingT", bound=Closing)


class Host:
    """The process while it lives. What it was given ends in the reverse order when it does; before that, the process is
    watched no longer, so that nobody asks a part that has ended."""

    def __init__(
        self,
        settings: Settings,
        observation: Observation,
        stack: contextlib.AsyncExitStack,
        telemetry_port: int | None,
    ) -> None:
        self.settings = settings
        self.observation = observation
        self._stack = stack
        self._telemetry_port = telemetry_port
        self._connect_options = connect_options(settings)

    async def start(self, part: PartT) -> PartT:
        """Start a part of the suite, and watch it. Raises what it raises."""
        await part.start()
        self._stack.push_async_callback(part.stop)
        self.observation.watch(part)
        return part

    async def join_bus(self) -> Bus:
        """The bus that the processes share. Raises StartupError."""
        return self.publish_on(await join_bus(self.settings))

    def publish_on(self, bus: Bus) -> Bus:
        """Have a bus closed at the end, and watch it."""
        self.observation.watch_shared(bus)
        return self.closed_at_the_end(bus)

    def storage(self) -> StorageStub | RemoteNodes:
        """Storage, which is in one other process or in several."""
        return self.closed_at_the_end(storage_of(self.settings, self._connect_options))

    def home(self) -> StorageStub:
        """Storage's first node alone, which has the catalogue and all system tables."""
        return self.closed_at_the_end(StorageStub(self.settings.address_of("storage"), self._connect_options))

    def auth(self) -> AuthStub:
        """Auth, which is in another process. It also says who may look at this one."""
        auth = AuthStub(self.settings.address_of("auth"), self._connect_options)
        self.observation.auth = auth
        return self.closed_at_the_end(auth)

    def changefeed(self) -> ChangefeedStub:
        """The changefeed service, which is in another process."""
        return self.closed_at_the_end(ChangefeedStub(self.settings.address_of("changefeed"), self._connect_options))

    def closed_at_the_end(self, closing: ClosingT) -> ClosingT:
        """Have a connection closed when the process ends."""
        self._stack.push_async_callback(closing.close)
        return closing

    async def serve(self, service: str, servant: Any) -> None:
        """Let other processes call `servant` at the service's address. Raises StartupError."""
        await self.enter(serving(self.settings, service, servant))

    async def enter(self, manager: contextlib.AbstractAsyncContextManager[T]) -> T:
        """Enter a block that ends with the process."""
        return await self._stack.enter_async_context(manager)

    def ready(self, probes: Mapping[str, Probe], **facts: Any) -> None:
        """Say that the process does its work, and does it well while the probes succeed; with facts for the supervisor,
        such as the ports that it listens on."""
        self.observation.started(probes)
        if self._telemetry_port is not None:
            facts["telemetry_port"] = self._telemetry_port
        report_ready(facts)


@contextlib.asynccontextmanager
async def hosting(settings: Settings, process: str, *, with_telemetry_port: bool = True) -> AsyncIterator[Host]:
    """The process called `process`, which ends with the block. Raises StartupError."""
    async with contextlib.AsyncExitStack() as stack:
        observation = await stack.enter_async_context(observing(settings, process))
        telemetry_port = None
        if with_telemetry_port:
            telemetry_port = await stack.enter_async_context(serving_telemetry(settings, observation))
        observation.watch(RpcMetrics(process))
        try:
            yield Host(settings, observation, stack, telemetry_port)
        finally:
            await observation.stop()
