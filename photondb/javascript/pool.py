"""The pool of worker processes, as the evaluator uses it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import signal
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_WORKER = Path(__file__).with_name("worker.py")
_LENGTH = struct.Struct(">I")

MIN_TIMEOUT_MS = 1
MAX_TIMEOUT_MS = 30 * 24 * 3600 * 1000


class JavaScriptError(Exception):
    """What a script threw, or why what it gave is no value."""


class TimedOut(Exception):
    """A script took longer than it may."""


class WorkerCrashed(Exception):
    """The engine broke."""


class ArrayTooLong(Exception):
    """A script gave an array over the limit."""


class Pool:
    """Runs scripts, each in one of `size` worker processes, which are started when they are needed, used again and
    again, and replaced when they die."""

    def __init__(self, size: int) -> None:
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        for _ in range(size):
            self._idle.put(_Worker())
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="javascript")

    async def run(
        self, session: str, source: str, arguments: str | None, *, timeout_ms: int, array_limit: int
    ) -> tuple[bool, str]:
        """Evaluate a script or, with `arguments` (a JSON array), the function that it gives.

        Returns (False, JSON of the value) or, without `arguments`, (True, "") for a script that gives a function.
        Calls of one `session` share the script's evaluation where that is possible. Raises the exceptions of this
        module. When it is cancelled the script is killed.
        """
        request = {
            "session": session,
            "source": source,
            "arguments": arguments,
            "timeout_ms": min(max(timeout_ms, MIN_TIMEOUT_MS), MAX_TIMEOUT_MS),
            "array_limit": array_limit,
        }
        turn = _Turn(self._idle, json.dumps(request).encode())
        try:
            answer = await asyncio.get_running_loop().run_in_executor(self._threads, turn.take)
        except asyncio.CancelledError:
            turn.cancel()
            raise
        kind, text = answer[:1], answer[1:]
        if kind == "E":
            raise JavaScriptError(text)
        if kind == "L":
            raise ArrayTooLong
        return kind == "F", text

    def close(self) -> None:
        """End all workers."""
        while True:
            try:
                self._idle.get_nowait().kill()
            except queue.Empty:
                break
        self._threads.shutdown(wait=False)


class _Turn:
    """One request's turn at a worker. `take` runs in a thread."""

    def __init__(self, idle: queue.LifoQueue[_Worker], request: bytes) -> None:
        self._idle = idle
        self._request = request
        self._worker: _Worker | None = None
        self._cancelled = False

    def take(self) -> str:
        if self._cancelled:
            return "V"
        worker = self._worker = self._idle.get()
        try:
            return worker.ask(self._request)
        finally:
            self._worker = None
            self._idle.put(worker)

    def cancel(self) -> None:
        self._cancelled = True
        worker = self._worker
        if worker is not None:
            worker.kill()


class _Worker:
    """One worker process, started at the first request and after each death."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: bytes) -> str:
        """The answer to a request. Raises TimedOut and WorkerCrashed when the process died of it."""
        process = self._process
        if process is None:
            process = self._process = self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(_LENGTH.pack(len(request)) + request)
            process.stdin.flush()
            (length,) = _LENGTH.unpack(process.stdout.read(_LENGTH.size))
            return process.stdout.read(length).decode("utf-8", "surrogatepass")
        except (OSError, struct.error):
            self._process = None
            process.kill()
            status = process.wait()
            process.stdout.close()
            with contextlib.suppress(OSError):
                process.stdin.close()
            if status == -signal.SIGALRM:
                raise TimedOut from None
            raise WorkerCrashed from None

    def kill(self) -> None:
        """End the process, whatever it does."""
        process = self._process
        if process is not None:
            process.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-I", str(_WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"TZ": "UTC"},
            cwd="/",
        )
