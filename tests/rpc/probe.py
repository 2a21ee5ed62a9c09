"""A small service on the RPC library, for tests: in this process, or as `python -m tests.rpc.probe ADDRESS`."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from photondb.api.auth import AuthenticationFailed
from photondb.api.context import CURRENT, INTERNAL, CallContext
from photondb.api.storage import LogGap, TableGone
from photondb.reql.errors import ClientError, CompileError, ErrorKind, ReqlError
from photondb.rpc import schema
from photondb.rpc.admission import Admission
from photondb.rpc.client import RpcClient
from photondb.rpc.connect import ConnectOptions
from photondb.rpc.loop import run
from photondb.rpc.payload import read_payload, write_payload
from photondb.rpc.remote import Method, Remote
from photondb.rpc.servant import Call, ClosableHandlers, Handlers, servant
from photondb.rpc.serve import RpcServer
from photondb.telemetry.trace_context import write_traceparents

PROBE = schema.load(Path(__file__).parent / "probe.capnp")

ERRORS: dict[str, Callable[[], BaseException]] = {
    "reql": lambda: ReqlError(ErrorKind.NON_EXISTENCE, "Nothing there.", [0, "index", 2]),
    "reql without frames": lambda: ReqlError(ErrorKind.USER, "Mine."),
    "compile": lambda: CompileError("No such term.", [1]),
    "client": lambda: ClientError("No query."),
    "table gone": lambda: TableGone(),
    "log gap": lambda: LogGap(4_000_000_000_000),
    "authentication": lambda: AuthenticationFailed("Wrong password.", 12),
    "surrogate": lambda: ReqlError(ErrorKind.USER, "half a \ud83d character"),
    "bug": lambda: ZeroDivisionError("the secret of the house"),
    "cancelled": lambda: asyncio.CancelledError(),
}


class Probe(Handlers):
    """The handlers of the service."""

    unlimited = frozenset({"counts"})

    def __init__(self, max_calls: int = 1024) -> None:
        super().__init__("probe", Admission(max_calls))
        self.waiting = self.cancelled = self.open_handles = self.calls = 0

    async def echo(self, call: Call) -> None:
        batch = list(call.params.batch)
        self.calls += 1
        call.results.ok = batch

    async def wait(self, call: Call) -> None:
        self.waiting += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.waiting -= 1

    async def fail(self, call: Call) -> None:
        how = call.params.how
        if how == "swallow":
            # As storage does where a commit goes on although the caller has gone.
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
            call.results.ok = None
            return
        raise ERRORS[how]()

    async def open(self, call: Call) -> None:
        self.open_handles += 1
        call.results.ok = servant(PROBE.Handle, HandleHandlers(self, Held(self)))

    async def counts(self, call: Call) -> None:
        call.results.ok = {
            "waiting": self.waiting,
            "cancelled": self.cancelled,
            "open": self.open_handles,
            "calls": self.calls,
        }

    async def about(self, call: Call) -> None:
        contexts = [call.context, CURRENT.get()]
        call.results.ok = [
            f"{c.user}|{c.request_id}|{write_traceparents(c.spans)}|{c.deadline is not None}".encode() for c in contexts
        ]

    async def blob(self, call: Call) -> None:
        data = bytes(call.params.length)
        if call.params.whole:
            call.results.init("ok").whole = data
        else:
            write_payload(call.results.init("ok"), data, self)


class Held:
    """What a handle stands for."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe

    async def close(self) -> None:
        self._probe.open_handles -= 1


class HandleHandlers(ClosableHandlers):
    """The handlers of a handle."""

    async def touch(self, call: Call) -> None:
        call.results.ok = None


class ProbeStub:
    """Calls the service."""

    def __init__(self, address: str, options: ConnectOptions = ConnectOptions()) -> None:  # noqa: B008
        self.client = RpcClient("probe", PROBE.Probe, address, options)

    async def echo(self, *batch: bytes, context: CallContext = INTERNAL, bulk: bool = False) -> list[bytes]:
        return list((await self.client.call(Method("echo"), context, bulk=bulk, batch=batch)).ok)

    async def wait(self, context: CallContext = INTERNAL, effects: bool = False) -> None:
        await self.client.call(Method("wait", effects), context)

    async def fail(self, how: str, context: CallContext = INTERNAL) -> None:
        await self.client.call(Method("fail"), context, how=how)

    async def open(self) -> Remote:
        return Remote((await self.client.call(Method("open"), INTERNAL)).ok, "probe")

    async def count(self, name: str) -> int:
        counts = (await self.client.call(Method("counts"), INTERNAL)).ok
        return int(getattr(counts, name))

    async def about(self, context: CallContext) -> list[str]:
        return [line.decode() for line in (await self.client.call(Method("about"), context)).ok]

    async def blob(self, length: int, *, whole: bool) -> bytes:
        response = await self.client.call(Method("blob"), INTERNAL, length=length, whole=whole)
        return await read_payload(response.ok, INTERNAL, "probe")

    async def until(self, name: str, value: int) -> None:
        """Wait until a count has a value."""
        while await self.count(name) != value:
            await asyncio.sleep(0.005)

    async def close(self) -> None:
        await self.client.close()


def rpc_test(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test as a service runs: on uvloop, inside Cap'n Proto's loop."""

    @functools.wraps(test)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        run(test(*args, **kwargs))

    return wrapper


@asynccontextmanager
async def served(capability: Any, address: str) -> AsyncIterator[str]:
    """Serve a capability, and give its address."""
    server = RpcServer(capability)
    bound = await server.listen(address)
    try:
        yield str(bound)
    finally:
        await server.close(drain_ms=100)


@asynccontextmanager
async def probing(probe: Probe, address: str) -> AsyncIterator[ProbeStub]:
    """A stub for `probe`, which is served in this process."""
    async with served(servant(PROBE.Probe, probe), address) as bound:
        stub = ProbeStub(bound)
        yield stub
        await stub.close()


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """The service as a process of its own."""
    child = subprocess.Popen([sys.executable, "-m", "tests.rpc.probe", *arguments], cwd=Path(__file__).parents[2])
    try:
        yield child
    finally:
        child.kill()
        child.wait()


async def serve_forever(address: str) -> None:
    server = RpcServer(servant(PROBE.Probe, Probe()))
    await server.listen(address)
    await asyncio.Event().wait()


if __name__ == "__main__":
    run(serve_forever(sys.argv[1]))
