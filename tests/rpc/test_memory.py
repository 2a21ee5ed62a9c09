"""Nothing that calls leave behind adds up."""

from __future__ import annotations

import asyncio
import gc
import time
from pathlib import Path
from typing import Any

import capnp
import pytest
import uvloop

from photondb.api.context import INTERNAL, CallContext
from photondb.reql.errors import ReqlError
from photondb.rpc.errors import DeadlineExceeded, InternalError
from photondb.rpc.remote import Method
from tests.rpc.probe import Probe, ProbeStub, probing, process, rpc_test

CALLS = 100_000
IN_FLIGHT = 200
MAX_GROWTH_BYTES = 8 << 20


def resident_bytes(pid: int | str = "self") -> int:
    """The memory of a process that is in RAM."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


async def call_many(stub: ProbeStub, calls: int) -> None:
    payload = bytes(200)

    async def caller() -> None:
        for _ in range(calls // IN_FLIGHT):
            await stub.echo(payload)

    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))


@rpc_test
async def test_a_hundred_thousand_calls_leave_the_memory_of_both_sides_flat(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/probe"
    with process(address) as service:
        stub = ProbeStub(address)
        await call_many(stub, CALLS // 10)  # allocators and caches reach their size
        before = resident_bytes(), resident_bytes(service.pid)
        await call_many(stub, CALLS)
        after = resident_bytes(), resident_bytes(service.pid)
        assert await stub.count("calls") == CALLS + CALLS // 10
        await stub.close()
    assert after[0] - before[0] < MAX_GROWTH_BYTES
    assert after[1] - before[1] < MAX_GROWTH_BYTES


@pytest.mark.parametrize("kind", ["handles", "errors", "cancelled", "connections"])
@rpc_test
async def test_what_is_unusual_leaves_nothing_behind_either(tmp_path: Path, kind: str) -> None:
    address = f"unix:{tmp_path}/probe"
    probe = Probe()

    async def once(stub: ProbeStub) -> None:
        match kind:
            case "handles":
                await (await stub.open()).call(Method("touch"), INTERNAL)
            case "errors":
                with pytest.raises(InternalError):
                    await stub.fail("cancelled")
            case "cancelled":
                call = asyncio.create_task(stub.wait())
                while not probe.waiting:
                    await asyncio.sleep(0)
                call.cancel()
                while probe.waiting:
                    await asyncio.sleep(0)
            case "connections":
                other = ProbeStub(address)
                await other.open()
                await other.close()

    async with probing(probe, address) as stub:
        for _ in range(300):
            await once(stub)
        before = resident_bytes()
        for _ in range(1500):
            await once(stub)
        assert resident_bytes() - before < MAX_GROWTH_BYTES
        await stub.until("open", 0)


async def use_everything(stub: ProbeStub, probe: Probe) -> None:
    """Calls that end in all possible ways."""
    await stub.echo(b"x", context=CallContext(deadline=time.monotonic() + 60))
    with pytest.raises(InternalError):
        await stub.fail("cancelled")
    with pytest.raises(ReqlError):
        await stub.fail("reql", CallContext(deadline=time.monotonic() + 60))
    for context in (INTERNAL, CallContext(deadline=time.monotonic() + 60)):
        call = asyncio.create_task(stub.wait(context))
        while not probe.waiting:
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        del call
        while probe.waiting:
            await asyncio.sleep(0)
    with pytest.raises(DeadlineExceeded):
        await stub.wait(CallContext(deadline=time.monotonic() + 0.02))
    while probe.waiting:
        await asyncio.sleep(0)
    handle = await stub.open()
    await handle.call(Method("touch"), INTERNAL)
    await stub.blob(10 << 20, whole=False)


def test_nothing_of_a_call_is_in_a_cycle_of_references(tmp_path: Path) -> None:
    """Else a peer's cursor would be freed not when it is dropped, but some time later."""
    address = f"unix:{tmp_path}/probe"

    async def main() -> list[Any]:
        async with capnp.kj_loop():
            probe = Probe()
            async with probing(probe, address) as stub:
                await use_everything(stub, probe)
                gc.collect()
                gc.set_debug(gc.DEBUG_SAVEALL)
                await use_everything(stub, probe)
                other = ProbeStub(address)
                await use_everything(other, probe)
                await other.close()
                del other
            for _ in range(10):
                await asyncio.sleep(0)
            gc.collect()
            garbage = list(gc.garbage)
            gc.garbage.clear()
            return garbage

    gc.disable()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            garbage = runner.run(main())
    finally:
        gc.set_debug(0)
        gc.enable()
    ours = [thing for thing in garbage if type(thing).__module__.startswith(("photondb.rpc", "tests.rpc"))]
    assert ours == []
    assert [thing for thing in garbage if isinstance(thing, asyncio.Task)] == []
