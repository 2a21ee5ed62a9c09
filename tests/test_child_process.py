from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from photondb.child_process import spawn_child

PARENT = """
import asyncio, sys, time
from photondb.child_process import spawn_child

async def main():
    child = await spawn_child([sys.executable, "-c", "import time; time.sleep(1000)"])
    print(child.pid, flush=True)
    await child.wait()

asyncio.run(main())
"""


def is_running(pid: int) -> bool:
    """Whether the process exists and is not merely waiting for its exit status to be fetched."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_child_does_not_survive_kill_9_of_its_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_running(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    while is_running(child):
        time.sleep(0.01)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_child_has_its_own_process_group_and_no_input(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    program = "import os, sys; print(os.getpgrp() == os.getpid(), sys.stdin.read() == '')"

    async def main() -> bytes:
        child = await spawn_child([sys.executable, "-c", program], stdout=asyncio.subprocess.PIPE)
        return (await child.communicate())[0]

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(main()).split() == [b"True", b"True"]


async def test_signals_reach_a_child() -> None:
    child = await spawn_child([sys.executable, "-c", "import time; time.sleep(1000)"])
    assert child.pid != os.getpid()
    child.send_signal(signal.SIGTERM)
    assert await child.wait() == -signal.SIGTERM
