"""The suite with a process for each service, which speak Cap'n Proto over unix sockets and publish over NATS."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from photondb.bus.server import NatsServer
from photondb.cli.lifetime import announce
from photondb.cli.observing import remove_targets, write_targets
from photondb.cli.supervisor import Program, ServiceProgram, Supervisor
from photondb.config import DEFAULT_ADDRESSES, SERVICES, Settings, StartupError
from photondb.ports import reserve_free_port
from photondb.telemetry import configure_logging

log = logging.getLogger(__name__)


def serve_in_processes(settings: Settings) -> int:
    """Run the suite until SIGTERM or SIGINT. Raises StartupError, or returns the exit status."""
    configure_logging("supervisor", settings.log_level, settings.log_format)
    # Only this user may enter: the sockets in it have no other protection.
    directory = Path(tempfile.mkdtemp(prefix="photondb-"))
    try:
        return asyncio.run(ProcessSuite(settings, directory).run())
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class ProcessSuite:
    """The programs of a suite. `directory` is for its sockets."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        sockets = {service: f"unix:{directory / service}.sock" for service in DEFAULT_ADDRESSES}
        settings, self._reserved = _with_ports(settings.with_addresses(sockets))
        self._settings = settings
        self._telemetry_ports = {name: self._telemetry_port(index) for index, name in enumerate(SERVICES)}
        self._nats = NatsServer(directory) if settings.nats_url is None else None
        self._services = {name: self._service(name) for name in SERVICES}
        self._gateway = self._services["gateway"]
        # Each stage needs the ones before. The gateway comes last and goes first: clients find either the whole suite
        # or a closed port.
        programs: list[tuple[Program, int]] = [
            (self._services["storage"], 1),
            (self._services["auth"], 2),
            (self._services["changefeed"], 2),
            (self._services["query"], 2),
            (self._gateway, 3),
        ]
        if self._nats is not None:
            programs.append((self._nats, 0))
        self._supervisor = Supervisor(programs, self._announce)
        self._announced = False

    async def run(self) -> int:
        """Run it until it ends. Returns the exit status, or raises StartupError."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._supervisor.stop)
        try:
            finish = await self._supervisor.run()
        finally:
            if self._announced:
                remove_targets(self._settings.data_dir)
        if finish.reason is not None:
            raise StartupError(finish.reason)
        return finish.status

    def _service(self, name: str) -> ServiceProgram:
        # -P: a folder `services` where the command is run must not be taken for ours.
        return ServiceProgram(
            name, [sys.executable, "-P", "-m", f"services.{name}"], functools.partial(self._environ, name)
        )

    def _telemetry_port(self, index: int) -> int:
        """The telemetry port of a service by its place in SERVICES."""
        settings = self._settings
        if settings.telemetry_port:
            return settings.telemetry_port + index
        try:
            reserved = reserve_free_port(settings.telemetry_bind)
        except OSError:  # the service will say what is wrong with the address
            return 0
        self._reserved.append(reserved)
        return reserved.getsockname()[1]  # type: ignore[no-any-return]

    def _environ(self, name: str) -> Mapping[str, str]:
        settings = replace(self._settings, telemetry_port=self._telemetry_ports[name])
        if self._nats is not None:
            settings = replace(settings, nats_url=self._nats.url)
        return {**os.environ, **settings.to_environment()}

    def _announce(self) -> None:
        ports = self._telemetry_ports
        self._announced = True
        write_targets(self._settings.data_dir, self._settings.telemetry_bind, ports)
        log.info("metrics", extra={f"{name}_port": port for name, port in ports.items()})
        announce(self._settings, self._gateway.facts["driver_port"], self._gateway.facts["http_port"])


def _with_ports(settings: Settings) -> tuple[Settings, list[socket.socket]]:
    """The settings with a port in the place of each that may be any free one, and what keeps these ports: the gateway
    must find them again when it is started again. What is wrong with the address is the gateway's to say."""
    reserved = []
    for name in ("driver_port", "http_port"):
        if getattr(settings, name) == 0:
            with contextlib.suppress(OSError):
                reserved.append(reserve_free_port(settings.bind))
                settings = replace(settings, **{name: reserved[-1].getsockname()[1]})
    return settings, reserved
