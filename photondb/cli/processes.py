"""The suite with a process for each service, which speak Cap'n Proto over unix sockets and publish over NATS."""

from __future__ import annotations

import asyncio
import contextlib
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
from photondb.cli.supervisor import Program, ServiceProgram, Supervisor
from photondb.config import DEFAULT_ADDRESSES, Settings, StartupError
from photondb.ports import reserve_free_port
from photondb.telemetry import configure_logging


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
        self._nats = NatsServer(directory) if settings.nats_url is None else None
        self._gateway = self._service("gateway")
        # Each stage needs the ones before. The gateway comes last and goes first: clients find either the whole suite
        # or a closed port.
        programs: list[tuple[Program, int]] = [
            (self._service("storage"), 1),
            (self._service("auth"), 2),
            (self._service("changefeed"), 2),
            (self._service("query"), 2),
            (self._gateway, 3),
        ]
        if self._nats is not None:
            programs.append((self._nats, 0))
        self._supervisor = Supervisor(programs, self._announce)

    async def run(self) -> int:
        """Run it until it ends. Returns the exit status, or raises StartupError."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._supervisor.stop)
        finish = await self._supervisor.run()
        if finish.reason is not None:
            raise StartupError(finish.reason)
        return finish.status

    def _service(self, name: str) -> ServiceProgram:
        # -P: a folder `services` where the command is run must not be taken for ours.
        return ServiceProgram(name, [sys.executable, "-P", "-m", f"services.{name}"], self._environ)

    def _environ(self) -> Mapping[str, str]:
        settings = self._settings
        if self._nats is not None:
            settings = replace(settings, nats_url=self._nats.url)
        return {**os.environ, **settings.to_environment()}

    def _announce(self) -> None:
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
