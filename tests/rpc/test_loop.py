"""The loop that services run on."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
import uvloop

from photondb.rpc.loop import run
from tests.rpc.probe import Probe, probing


class Cycle:
    """Garbage that only the cyclic collector finds. It notes the thread in which it is collected."""

    def __init__(self, threads: list[int]) -> None:
        self.myself = self
        weakref.finalize(self, lambda: threads.append(threading.get_ident())).atexit = False


def test_it_is_uvloop() -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def look() -> None:
        loops.append(asyncio.get_running_loop())

    run(look())
    assert isinstance(loops[0], uvloop.Loop)


def test_an_exception_comes_out() -> None:
    async def fail() -> None:
        raise LookupError("it")

    with pytest.raises(LookupError, match="it"):
        run(fail())


def test_it_can_run_again_after_it_ended_with_capabilities_in_use(tmp_path: Path) -> None:
    held: list[Any] = []

    async def leave_everything_open(number: int) -> None:
        context = probing(Probe(), f"unix:{tmp_path}/{number}")
        stub = await context.__aenter__()
        held.extend((context, stub, await stub.open(), asyncio.create_task(stub.wait())))
        await stub.until("waiting", 1)

    for number in range(3):
        run(leave_everything_open(number))
    held.clear()
    gc.collect()


def test_garbage_is_collected_on_the_thread_of_the_loop_only() -> None:
    collected_in: list[int] = []

    def make_garbage() -> None:
        for _ in range(200_000):
            Cycle(collected_in)

    async def main() -> None:
        await asyncio.to_thread(make_garbage)
        while not collected_in:
            await asyncio.sleep(0.01)

    was_enabled = gc.isenabled()
    run(main())
    assert gc.isenabled() == was_enabled
    assert set(collected_in) == {threading.get_ident()}


def test_python_collects_in_any_thread_by_itself() -> None:
    """Why the loop has to prevent it."""
    collected_in: list[int] = []

    def make_garbage() -> None:
        for _ in range(10_000):
            Cycle(collected_in)

    thread = threading.Thread(target=make_garbage)
    thread.start()
    thread.join()
    assert thread.ident in collected_in
