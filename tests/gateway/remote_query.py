"""`EchoQuery` in a process of its own: `python -m tests.gateway.remote_query ADDRESS`."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from photondb.rpc.loop import run
from photondb.rpc.query import query_servant
from photondb.rpc.serve import RpcServer
from tests.gateway.echo_query import EchoQuery


@contextmanager
def query_process(address: str) -> Iterator[subprocess.Popen[bytes]]:
    """The process, once it answers."""
    command = [sys.executable, "-m", "tests.gateway.remote_query", address]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            yield process
        finally:
            process.kill()


async def serve(address: str) -> None:
    server = RpcServer(query_servant(EchoQuery()))  # kept: one that is collected listens no longer
    await server.listen(address)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    run(serve(sys.argv[1]))
