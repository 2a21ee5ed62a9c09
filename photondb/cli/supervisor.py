"""Run the processes of the suite as `photondb.cli.supervision` decides."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from photondb.child_process import spawn_child
from photondb.cli.supervision import (
    Announce,
    Event,
    Exited,
    Finish,
    Instruction,
    Policy,
    Ready,
    Send,
    Spawn,
    StopRequested,
    Supervision,
    Tick,
)
from photondb.config import StartupError
from photondb.hosting.readiness import READY_FD_VARIABLE

log = logging.getLogger(__name__)

EXIT_NOT_RUNNABLE = 127
MAX_REPORT_BYTES = 65_536


class Program(Protocol):
    """Something that the supervisor can run, again and again."""

    @property
    def name(self) -> str: ...

    async def spawn(self) -> asyncio.subprocess.Process:
        """Start it. Raises OSError when that cannot be done."""
        ...

    async def wait_ready(self) -> None:
        """Return once what was spawned last does its work. Raises StartupError when it never will."""
        ...


class ServiceProgram:
    """A service in a process of its own. `environ` is asked for its environment at each start.

    `facts` is what the service reported when it was ready, such as its ports.
    """

    def __init__(self, name: str, command: Sequence[str], environ: Callable[[], Mapping[str, str]]) -> None:
        self.name = name
        self.facts: dict[str, Any] = {}
        self._command = command
        self._environ = environ
        self._ready_fd: int | None = None

    async def spawn(self) -> asyncio.subprocess.Process:
        if self._ready_fd is not None:
            os.close(self._ready_fd)
        self._ready_fd, child_fd = os.pipe()
        try:
            environ = {**self._environ(), READY_FD_VARIABLE: str(child_fd)}
            return await spawn_child(self._command, environ=environ, pass_fds=(child_fd,))
        finally:
            os.close(child_fd)

    async def wait_ready(self) -> None:
        assert self._ready_fd is not None
        pipe, self._ready_fd = os.fdopen(self._ready_fd, "rb"), None
        reader = asyncio.StreamReader(MAX_REPORT_BYTES)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            line = await reader.readline()
        finally:
            transport.close()
        if not line.endswith(b"\n"):
            raise StartupError(f"{self.name} ended before it was ready")
        self.facts = json.loads(line)


class Supervisor:
    """Runs `programs`, pairs of a program and its stage, until `stop` is called or it gives up."""

    def __init__(
        self,
        programs: Sequence[tuple[Program, int]],
        on_ready: Callable[[], None],
        policy: Policy | None = None,
    ) -> None:
        self._programs = {program.name: program for program, _ in programs}
        self._supervision = Supervision([(program.name, stage) for program, stage in programs], policy)
        self._on_ready = on_ready
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._ended: dict[str, int] = {}  # the exit statuses of what ended, by name
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._watches: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """Ask all programs to end; asked twice, end them at once."""
        self._events.put_nowait(StopRequested())

    async def run(self) -> Finish:
        """Start everything and return when everything has ended."""
        instructions = self._supervision.begin(time.monotonic())
        while True:
            for instruction in instructions:
                if isinstance(instruction, Finish):
                    return instruction
                await self._carry_out(instruction)
            event = await self._next_event()
            instructions = self._supervision.handle(event, time.monotonic())

    async def _next_event(self) -> Event:
        wake_at = self._supervision.wake_at
        try:
            async with asyncio.timeout(None if wake_at is None else max(0.0, wake_at - time.monotonic())):
                return await self._events.get()
        except TimeoutError:
            return Tick()

    async def _carry_out(self, instruction: Instruction) -> None:
        match instruction:
            case Spawn(name):
                if name in self._ended:
                    log.warning("starting again", extra={"program": name, "ended_with": self._ended[name]})
                await self._spawn(self._programs[name])
            case Send(name, number):
                if number == signal.SIGKILL:
                    log.warning("killing a process that does not end or start in time", extra={"program": name})
                with contextlib.suppress(KeyError, ProcessLookupError):  # it ended just now
                    self._processes[name].send_signal(number)
            case Announce():
                self._on_ready()

    async def _spawn(self, program: Program) -> None:
        try:
            process = await program.spawn()
        except OSError as error:
            log.error("cannot start a process", extra={"program": program.name, "error": str(error)})
            self._events.put_nowait(Exited(program.name, EXIT_NOT_RUNNABLE))
            return
        self._processes[program.name] = process
        log.debug("started", extra={"program": program.name, "pid": process.pid})
        watch = asyncio.create_task(self._watch(program, process))
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)

    async def _watch(self, program: Program, process: asyncio.subprocess.Process) -> None:
        """Report when the process is ready and when it has ended."""
        readiness = asyncio.create_task(self._report_ready(program))
        status = await process.wait()
        readiness.cancel()
        await asyncio.wait([readiness])
        del self._processes[program.name]
        self._ended[program.name] = status
        log.debug("ended", extra={"program": program.name, "pid": process.pid, "status": status})
        self._events.put_nowait(Exited(program.name, status))

    async def _report_ready(self, program: Program) -> None:
        try:
            await program.wait_ready()
        except StartupError as error:  # it has ended or will be killed; either is dealt with when it happens
            log.debug("%s", error)
        else:
            self._events.put_nowait(Ready(program.name))
