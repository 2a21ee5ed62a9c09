"""The suite as a user runs it, `photondb serve`, for tests from outside."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

READY = re.compile(r"PhotonDB is ready: drivers on .*:(?P<driver>\d+), HTTP on .*:(?P<http>\d+), data in .*")


PHOTONDB = (str(Path(sys.prefix, "bin", "photondb")),)
"""The installed command."""

ENDED = (0, -signal.SIGALRM)
"""The exit statuses of a suite that was asked to end: the latter where the machine was so slow that its time was up."""


class RunningSuite:
    """A suite on free ports of 127.0.0.1. Use it in a `with` statement, which starts and ends it.

    It can be started again after it ended, and then serves the same data on other ports. `processes` is None for what
    the environment variable PHOTONDB_PROCESSES says.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        processes: bool | None = None,
        arguments: tuple[str, ...] = (),
        environ: Mapping[str, str] | None = None,
        program: Sequence[str] = PHOTONDB,
    ) -> None:
        self.data_dir = data_dir
        self.driver_port = 0
        self.http_port = 0
        self._arguments = ["--data-dir", str(data_dir), "--driver-port", "0", "--http-port", "0", *arguments]
        self._program = program
        self._environ = {**os.environ, **(environ or {})}
        if processes is not None:
            self._environ["PHOTONDB_PROCESSES"] = str(int(processes))
        self._process: subprocess.Popen[str] | None = None
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the suite

    def __enter__(self) -> RunningSuite:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.stop()
        if error is not None:
            print(self.log)  # which pytest shows with the failure
        self._log.close()

    @property
    def pid(self) -> int:
        """The process id of the suite, or of its supervisor."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What the suite has written to standard error so far."""
        self._log.seek(0)
        return self._log.read()

    def start(self) -> None:
        """Start it and wait for its ready line. Raises RuntimeError with its complaint when there is none."""
        self._process = subprocess.Popen(
            [*self._program, "serve", *self._arguments],
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found = READY.fullmatch(line.strip())
        if found is None:
            self.kill()
            raise RuntimeError(f"the suite did not start: {line!r} {self.log}")
        self.driver_port, self.http_port = int(found["driver"]), int(found["http"])

    def stop(self) -> int:
        """Ask it to end and return its exit status."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would: kill -9."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        assert process is not None
        assert process.stdout is not None
        process.send_signal(number)
        status = process.wait()
        process.stdout.close()
        return status
