"""Runs an asyncio program on uvloop, with Cap'n Proto's event loop inside it."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Coroutine
from typing import Any

import capnp
import uvloop

from photondb.rpc.eager import task_factory


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run `main` to its end, as `asyncio.run` does, with what Cap'n Proto connections and servers need around it.

    While it runs, cyclic garbage is collected on this thread only: a capability that sits in a cycle and is collected
    in another thread aborts the process, and Python by itself collects in whichever thread happens to allocate.
    """
    collected_automatically = gc.isenabled()
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_with_capnp(main))
    finally:
        if collected_automatically:
            gc.enable()


async def _with_capnp(main: Coroutine[Any, Any, None]) -> None:
    asyncio.get_running_loop().set_task_factory(task_factory)
    collector = asyncio.create_task(_collect_garbage())
    try:
        async with capnp.kj_loop():
            try:
                await main
            finally:
                gc.collect()  # capabilities that are garbage go while their event loop still runs
    finally:
        collector.cancel()


async def _collect_garbage(
    every_ms: int = 100, young_objects: int = 20_000, full_every_ms: int = 60_000, full_share: float = 0.01
) -> None:
    """Do what Python's automatic collection does, from the loop.

    The youngest generation is collected when `young_objects` more objects were made than freed, and the middle one with
    every tenth of those. Both are once a second while less happens, so that what garbage holds, a cursor in a peer for
    instance, is not held for long. All objects are visited at most every `full_every_ms`, and so rarely that it takes
    no more than `full_share` of the time.
    """
    next_full = time.monotonic() + full_every_ms / 1000
    quiet_rounds = 0
    while True:
        await asyncio.sleep(every_ms / 1000)
        allocated, young_collections, _ = gc.get_count()
        if allocated < young_objects:
            quiet_rounds += 1
            if quiet_rounds * every_ms >= 1000:
                quiet_rounds = 0
                gc.collect(1)
        elif time.monotonic() < next_full:
            gc.collect(1 if young_collections >= 10 else 0)
        else:
            started = time.monotonic()
            gc.collect()
            ended = time.monotonic()
            next_full = ended + max(full_every_ms / 1000, (ended - started) / full_share)
