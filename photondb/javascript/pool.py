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
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from photondb.javascript.turns import Ticket, Turns

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


class Busy(Exception):
    """Other calls with long timeouts have all the workers that such calls may have."""


class ArrayTooLong(Exception):
    """A script gave an array over the limit."""


class Pool:
    """Runs scripts, each in one of `size` worker processes, which are started when they are needed, used again and
    again, and replaced when they die.

    `Turns` says who waits for whom. A call with a timeout of more than `usual_timeout_ms` waits for `lasting_wait_ms`
    at most.
    """

    def __init__(self, size: int, *, usual_timeout_ms: int = 5_000, lasting_wait_ms: int = 30_000) -> None:
        self._usual_timeout_ms = usual_timeout_ms
        self._lasting_wait_ms = lasting_wait_ms
        self._workers = [_Worker() for _ in range(size)]
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="javascript")
        self._lock = threading.Lock()
        self._turns = Turns(size)
        self._calls: dict[Ticket, _Call] = {}
        """Those that wait for their turn."""

    async def run(
        self, session: str, source: str, arguments: str | None, *, timeout_ms: int, array_limit: int, user: str = ""
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
        ticket = Ticket(user, timeout_ms > self._usual_timeout_ms)
        call = _Call(json.dumps(request).encode())
        with self._lock:
            self._turns.add(ticket)
            self._calls[ticket] = call
        self._begin_some()
        answer = asyncio.wrap_future(call.answer)
        try:
            if ticket.lasting:
                await asyncio.wait([answer], timeout=self._lasting_wait_ms / 1000)
                if not answer.done() and self._withdraw(ticket):
                    raise Busy
            given = await answer
        except asyncio.CancelledError:
            answer.cancel()
            if not self._withdraw(ticket):
                call.kill()
            raise
        kind, text = given[:1], given[1:]
        if kind == "E":
            raise JavaScriptError(text)
        if kind == "L":
            raise ArrayTooLong
        return kind == "F", text

    def close(self) -> None:
        """End all workers, whatever they do."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.kill()

    def _withdraw(self, ticket: Ticket) -> bool:
        """Take a call out of the queue. Returns whether it was still there."""
        with self._lock:
            self._calls.pop(ticket, None)
            return self._turns.withdraw(ticket)

    def _begin_some(self) -> None:
        """Give the workers that are free to calls."""
        while True:
            with self._lock:
                ticket = self._turns.next()
                if ticket is None:
                    return
                call = self._calls.pop(ticket)
            self._threads.submit(self._carry_out, ticket, call)

    def _carry_out(self, ticket: Ticket, call: _Call) -> None:
        """Runs in a thread."""
        worker = self._idle.get()
        try:
            call.carry_out(worker)
        finally:
            self._idle.put(worker)
            with self._lock:
                self._turns.end(ticket)
            with contextlib.suppress(RuntimeError):  # the pool was closed meanwhile
                self._begin_some()


class _Call:
    """A request, and what comes of it."""

    def __init__(self, request: bytes) -> None:
        self.answer: Future[str] = Future()
        self._request = request
        self._worker: _Worker | None = None
        self._killed = threading.Event()

    def carry_out(self, worker: _Worker) -> None:
        """Let a worker answer it."""
        if not self.answer.set_running_or_notify_cancel():
            return
        self._worker = worker
        try:
            answer = worker.ask(self._request, self._killed)
        except Exception as error:
            self._worker = None
            self.answer.set_exception(error)
        else:
            self._worker = None
            self.answer.set_result(answer)

    def kill(self) -> None:
        """End it, whatever it does."""
        self._killed.set()
        worker = self._worker
        if worker is not None:
            worker.kill()


class _Worker:
    """One worker process, started at the first request and after each death."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: bytes, killed: threading.Event) -> str:
        """The answer to a request. Raises TimedOut and WorkerCrashed when the process died of it, or it was killed."""
        process = self._process
        if process is None:
            process = self._process = self._start()
        if killed.is_set():  # before there was a process to be seen
            raise WorkerCrashed
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
