"""The supervisor with real child processes, small ones."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from photondb.bus import NatsBus
from photondb.bus.server import NatsServer
from photondb.cli.supervision import Finish, Policy
from photondb.cli.supervisor import ServiceProgram, Supervisor
from photondb.hosting.readiness import EXIT_CONFIGURATION

READY = """
import json, os, signal, sys, time
with open(os.path.join(os.environ["PIDS"], str(os.getpid())), "w"): pass
with os.fdopen(int(os.environ["PHOTONDB_READY_FD"]), "w") as ready:
    ready.write(json.dumps({"pid": os.getpid(), "port": 5}) + "\\n")
"""
SLEEP = READY + "time.sleep(1000)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEP
PATIENCE = Policy(first_pause_s=0.01, max_pause_s=0.02, grace_s=0.2)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds; the test's own time limit ends a wait in vain."""
    while not condition():
        await asyncio.sleep(0.005)


class Run:
    """A supervisor at work on some programs, given as Python source by name."""

    def __init__(self, directory: Path, policy: Policy = PATIENCE, **sources: str) -> None:
        self.directory = directory
        environ = {**os.environ, "PIDS": str(directory)}
        self.programs = {
            name: ServiceProgram(name, [sys.executable, "-c", source], lambda: environ)
            for name, source in sources.items()
        }
        self.ready = 0
        staged = [(program, stage) for stage, program in enumerate(self.programs.values())]
        self.supervisor = Supervisor(staged, self._note_ready, policy)
        self.task = asyncio.create_task(self.supervisor.run())

    def _note_ready(self) -> None:
        self.ready += 1

    def pid(self, name: str) -> int:
        pid = self.programs[name].facts["pid"]
        assert isinstance(pid, int)
        return pid

    @property
    def started(self) -> list[int]:
        """The ids of all processes that got as far as their first line."""
        return [int(path.name) for path in self.directory.iterdir()]

    async def stop(self) -> Finish:
        self.supervisor.stop()
        return await self.task


def is_gone(pid: int) -> bool:
    """Whether the process does not exist any more."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_it_starts_and_ends_what_it_is_given(tmp_path: Path) -> None:
    run = Run(tmp_path, first=SLEEP, second=SLEEP)
    await until(lambda: run.ready == 1)
    assert run.programs["first"].facts["port"] == 5
    assert len(run.started) == 2
    assert await run.stop() == Finish(0)
    assert all(is_gone(pid) for pid in run.started)


async def test_a_killed_child_is_started_again(tmp_path: Path) -> None:
    run = Run(tmp_path, first=SLEEP, second=SLEEP)
    await until(lambda: run.ready == 1)
    for _ in range(3):
        old, other = run.pid("second"), run.pid("first")
        os.kill(old, signal.SIGKILL)
        await until(lambda old=old: run.pid("second") != old)
        assert run.pid("first") == other
    assert await run.stop() == Finish(0)
    assert run.ready == 1
    assert all(is_gone(pid) for pid in run.started)


async def test_a_child_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    run = Run(tmp_path, stubborn=STUBBORN, other=SLEEP)
    await until(lambda: run.ready == 1)
    assert await run.stop() == Finish(0)
    assert all(is_gone(pid) for pid in run.started)


async def test_a_configuration_error_ends_the_start(tmp_path: Path) -> None:
    run = Run(tmp_path, good=SLEEP, bad=f"raise SystemExit({EXIT_CONFIGURATION})", never=SLEEP)
    assert await run.task == Finish(1)
    assert run.ready == 0
    assert len(run.started) == 1
    assert all(is_gone(pid) for pid in run.started)


async def test_a_crashing_program_is_given_up(tmp_path: Path) -> None:
    run = Run(tmp_path, good=SLEEP, bad="raise SystemExit(3)")
    finish = await run.task
    assert finish.status == 1
    assert finish.reason == "bad ended 3 times while the suite was starting, at last with exit status 3"


async def test_a_program_that_does_not_exist_is_given_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    program = ServiceProgram("missing", [str(tmp_path / "nothing")], dict)
    finish = await Supervisor([(program, 0)], lambda: None, PATIENCE).run()
    assert finish.status == 1
    assert "cannot start a process" in caplog.text


async def test_a_child_that_never_gets_ready_is_killed(tmp_path: Path) -> None:
    policy = Policy(first_pause_s=0.01, start_timeout_s=0.2, max_failed_starts=2)
    run = Run(tmp_path, policy, silent="import time; time.sleep(1000)")
    finish = await run.task
    assert finish == Finish(1, "silent ended 2 times while the suite was starting, at last by SIGKILL")


async def test_restarts_leave_no_file_descriptors_behind(tmp_path: Path) -> None:
    run = Run(tmp_path, only=SLEEP)
    await until(lambda: run.ready == 1)

    async def restart() -> None:
        old = run.pid("only")
        os.kill(old, signal.SIGKILL)
        await until(lambda: run.pid("only") != old)

    await restart()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        await restart()
    await until(lambda: len(os.listdir("/proc/self/fd")) <= before)
    await run.stop()


async def test_the_nats_server_can_be_supervised(tmp_path: Path) -> None:
    server = NatsServer(tmp_path)
    ready = asyncio.Event()
    supervisor = Supervisor([(server, 0)], ready.set, PATIENCE)
    task = asyncio.create_task(supervisor.run())
    await ready.wait()
    url, pid = server.url, server.pid
    bus = await NatsBus.connect(url)
    got: list[bytes] = []
    gaps: list[None] = []
    bus.on_gap(lambda: gaps.append(None))
    await bus.subscribe("a", lambda message: got.append(message.payload))
    server.kill()
    await until(lambda: server.pid not in (pid, None))
    await until(lambda: len(gaps) > 0)
    assert server.url == url
    bus.publish_nowait("a", b"x")
    await until(lambda: got == [b"x"])
    await bus.close()
    supervisor.stop()
    assert await task == Finish(0)
