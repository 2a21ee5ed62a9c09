"""The suite with a process for each service, or with fronts, which are two of them; they speak Cap'n Proto over unix
sockets and publish over NATS."""

from __future__ import annotations

import asyncio
import errno
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
from photondb.cli.announcement import announce
from photondb.cli.node_directories import node_directory, storage_name
from photondb.cli.supervision import Policy
from photondb.cli.supervisor import Program, ServiceProgram, Supervisor
from photondb.config import DEFAULT_ADDRESSES, Settings, StartupError
from photondb.ports import reserve_port
from photondb.telemetry.logs import configure_logging
from photondb.telemetry.targets import remove_targets, write_targets

log = logging.getLogger(__name__)

_STAGES = {"storage": 1, "auth": 3, "changefeed": 3, "query": 3, "gateway": 4, "front": 4}
_OTHER_STORAGE_STAGE = 2
"""Storage nodes follow node 0: they start after it, and end before it."""

_NODES_GRACE_S = 2.5
"""How long several storage nodes may take to end, with all others."""


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
        if settings.storage_addresses is not None:
            del sockets["storage"]
        settings, self._reserved = _with_ports(_with_storage_nodes(settings.with_addresses(sockets), directory))
        self._settings = replace(settings, share_ports=_has_several_fronts(settings))
        names = settings.process_names()
        self._telemetry_ports = {name: self._telemetry_port(index) for index, name in enumerate(names)}
        self._nats = NatsServer(directory) if settings.nats_url is None else None
        self._services = {name: self._service(name) for name in names}
        self._entrance = self._services[names[0]]
        # Each stage needs the ones before. What listens for clients comes last and goes first: they find either the
        # whole suite or a closed port.
        programs: list[tuple[Program, int]] = [(service, _stage(name)) for name, service in self._services.items()]
        if self._nats is not None:
            programs.append((self._nats, 0))
        policy = Policy() if settings.storage_nodes == 1 else Policy(grace_s=_NODES_GRACE_S)
        self._supervisor = Supervisor(programs, self._announce, policy)
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
        module = f"services.{name.partition('-')[0]}"
        return ServiceProgram(name, [sys.executable, "-P", "-m", module], functools.partial(self._environ, name))

    def _telemetry_port(self, index: int) -> int:
        """The telemetry port of a process by its place among all."""
        settings = self._settings
        if settings.telemetry_port:
            return settings.telemetry_port + index
        try:
            reserved = reserve_port(settings.telemetry_bind)
        except OSError:  # the service will say what is wrong with the address
            return 0
        self._reserved.append(reserved)
        return reserved.getsockname()[1]  # type: ignore[no-any-return]

    def _environ(self, name: str) -> Mapping[str, str]:
        settings = replace(self._settings, telemetry_port=self._telemetry_ports[name])
        service, _, number = name.partition("-")
        if number and service == "storage":
            settings = replace(
                settings,
                storage_node=int(number),
                storage_address=settings.addresses_of_storage()[int(number)],
                data_dir=node_directory(settings.data_dir, int(number)),
            )
        if number and service == "front":
            settings = replace(settings, front_number=int(number))
        if self._nats is not None:
            settings = replace(settings, nats_url=self._nats.url)
        return {**os.environ, **settings.to_environment()}

    def _announce(self) -> None:
        ports = self._telemetry_ports
        self._announced = True
        write_targets(self._settings.data_dir, self._settings.telemetry_bind, ports)
        log.info("metrics", extra={f"{name}_port": port for name, port in ports.items()})
        announce(self._settings, self._entrance.facts["driver_port"], self._entrance.facts["http_port"])


def _stage(name: str) -> int:
    service, _, number = name.partition("-")
    return _OTHER_STORAGE_STAGE if service == "storage" and number else _STAGES[service]


def _with_storage_nodes(settings: Settings, directory: Path) -> Settings:
    """The settings with addresses of all storage nodes where there are several and these were not set."""
    if settings.storage_nodes == 1 or settings.storage_addresses is not None:
        return settings
    others = [f"unix:{directory / storage_name(number)}.sock" for number in range(1, settings.storage_nodes)]
    return replace(settings, storage_addresses=",".join([settings.address_of("storage"), *others]))


def _has_several_fronts(settings: Settings) -> bool:
    return settings.fronts is not None and settings.fronts > 1


def _with_ports(settings: Settings) -> tuple[Settings, list[socket.socket]]:
    """The settings with a port in the place of each that may be any free one, and what keeps these ports: who listens
    on them must find them again when it is started again. What is wrong with the address is its own to say.

    Ports that were chosen are kept, too: so a port that somebody else has is found out before anything is started, and
    two suites whose fronts share their ports cannot share their clients.
    """
    reserved = []
    for name, purpose in (("driver_port", "drivers"), ("http_port", "HTTP")):
        port = getattr(settings, name)
        try:
            reserved.append(reserve_port(settings.bind, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise StartupError(
                    f"cannot listen on {settings.bind}:{port} for {purpose}: {error.strerror}; choose another port "
                    f"with --{name.replace('_', '-')}"
                ) from None
        else:
            settings = replace(settings, **{name: reserved[-1].getsockname()[1]})
    return settings, reserved
