"""Nothing that calls leave behind adds up."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from photondb.api.context import INTERNAL
from photondb.rpc.errors import InternalError
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
