"""Something between a client and a service, which passes on what both say: slowly, in small pieces, or listening."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def relay(
    address: str, target: str, piece_bytes: int = 65_536, pause_s: float = 0.0, heard: bytearray | None = None
) -> AsyncIterator[None]:
    """Pass on what comes to the unix socket `address`, and what `target` answers, in pieces of so many bytes with a
    pause after each. `heard` gets the answers, too. Connections end with the block."""
    writers: list[asyncio.StreamWriter] = []
    passing: list[asyncio.Task[None]] = []

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, notes: bytearray | None) -> None:
        while data := await reader.read(piece_bytes):
            if notes is not None:
                notes += data
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(pause_s)
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        target_reader, target_writer = await asyncio.open_unix_connection(target.removeprefix("unix:"))
        writers.append(target_writer)
        passing.append(asyncio.create_task(pass_on(reader, target_writer, None)))
        passing.append(asyncio.create_task(pass_on(target_reader, writer, heard)))

    async with await asyncio.start_unix_server(accept, address.removeprefix("unix:")):
        yield
        for task in passing:
            task.cancel()
        await asyncio.gather(*passing, return_exceptions=True)
        for end in writers:
            end.close()
        await asyncio.gather(*(end.wait_closed() for end in writers), return_exceptions=True)
