"""What is done to a suite while clients work: processes die or stand still, tables move, indexes and names change."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from rethinkdb import r
from rethinkdb.errors import ReqlDriverError, ReqlRuntimeError
from rethinkdb.net import Connection

from tests.linearizability.history import Addition, History
from tests.linearizability.workload import PATIENCE_S, Names
from tests.running_suite import RunningSuite

SHORT_PAUSE_S = 1.0
LONG_PAUSE_S = 13.0
"""Longer than what a peer may be silent for until it counts as lost."""


def processes(suite: RunningSuite) -> dict[str, int]:
    """The process ids of a suite's processes, by their names; those that run at the moment."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"\nPPid:\t{suite.pid}\n" not in (process / "status").read_text():
                continue
            command = (process / "cmdline").read_bytes().decode().split("\0")
            environ = (process / "environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it ended meanwhile, or is somebody else's
        name = next((word for word in command if word.startswith("services.")), Path(command[0]).name)
        number = next((entry.partition("=")[2] for entry in environ if entry.startswith("PHOTONDB_STORAGE_NODE=")), "")
        if name == "services.storage":
            name = f"{name} {number}"
        found[f"{name} ({process.name})" if name == "services.front" else name] = int(process.name)
    return found


class Faults:
    """Does things to a suite, at random, and says what. `spread` is whether tables may be divided anew."""

    def __init__(
        self, suite: RunningSuite, names: Names, history: History, seed: int, *, processes: bool, spread: bool
    ) -> None:
        self._suite = suite
        self._names = names
        self._history = history
        self._generation = 0
        self._random = random.Random(f"{seed} faults")
        self._processes = processes
        self.all: dict[str, Callable[[], str]] = {
            "kill": self.kill,
            "pause": self.pause,
            "rename": self.rename,
            "index": self.index,
            "recreate": self.recreate,
        }
        if spread:
            self.all["divide"] = self.divide

    def any(self) -> str:
        """Do something, and say what."""
        kinds = [*self.all, "kill", "pause", *self.all.keys() & {"divide"}]
        return self.all[self._random.choice(kinds)]()

    def kill(self, name: str | None = None) -> str:
        """kill -9 of a process, or of one with that name. A suite of one process is started again."""
        if not self._processes:
            self._suite.kill()
            self._suite.start()
            return "killed the suite"
        name, pid = self._victim(name)
        os.kill(pid, signal.SIGKILL)
        return f"killed {name}"

    def pause(self, name: str | None = None, seconds: float | None = None) -> str:
        """Let a process stand still."""
        seconds = seconds or self._random.choice([SHORT_PAUSE_S, SHORT_PAUSE_S, SHORT_PAUSE_S, LONG_PAUSE_S])
        name, pid = self._victim(name) if self._processes else ("the suite", self._suite.pid)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):  # who found it silent may have ended it
            os.kill(pid, signal.SIGCONT)
        return f"paused {name} for {seconds} s"

    def divide(self) -> str:
        """Divide a table anew, and perhaps kill a process meanwhile, or let one stand still."""
        name = self._random.choice([self._names.registers, "counters", "members"])
        shards = self._random.choice([1, 2, 3])
        self._ask(lambda connection: r.table(name).reconfigure(shards=shards, replicas=1).run(connection))
        done = f"divided {name} into {shards}"
        time.sleep(self._random.random() * 0.3)
        other = self._random.choice([None, self.kill, self.kill, self.pause])
        if other is not None:
            done += f", {other()}"
        self._ask(lambda connection: r.table(name).wait().run(connection))
        return done

    def rename(self) -> str:
        """Give the registers another name."""
        old = self._names.registers
        new = "registers" if old == "renamed" else "renamed"

        def rename(connection: Connection) -> None:
            if new not in r.table_list().run(connection):
                r.table(old).config().update({"name": new}).run(connection)

        self._ask(rename)
        self._names.registers = new
        return f"renamed {old} to {new}"

    def recreate(self) -> str:
        """Drop the table of generations, and make the next one. Readers who come later must not find the former."""
        self._generation += 1
        generation = self._generation
        called = time.monotonic_ns()

        def recreate(connection: Connection) -> None:
            if "generations" in r.table_list().run(connection):
                r.table_drop("generations").run(connection)
            r.table_create("generations").run(connection)
            r.table("generations").insert({"id": generation}).run(connection)

        self._ask(recreate)
        self._history.made.append(Addition(called, time.monotonic_ns()))
        return f"made generation {generation}"

    def index(self) -> str:
        """Make an index of the counters, let it be used for a while, and drop it."""

        def make(connection: Connection) -> None:
            if "again" not in r.table("counters").index_list().run(connection):
                r.table("counters").index_create("again", r.row["n"]).run(connection)
            self._names.index = "again"  # whose use is an error until it is ready
            r.table("counters").index_wait("again").run(connection)

        def drop(connection: Connection) -> None:
            if "again" in r.table("counters").index_list().run(connection):
                r.table("counters").index_drop("again").run(connection)

        self._ask(make)
        time.sleep(0.5)
        self._ask(drop)
        self._names.index = None
        return "made and dropped an index"

    def _victim(self, name: str | None) -> tuple[str, int]:
        latest = time.monotonic() + PATIENCE_S
        while True:
            running = processes(self._suite)
            fitting = sorted(one for one in running if name is None or name in one)
            if fitting:
                chosen = self._random.choice(fitting)
                return chosen, running[chosen]
            assert time.monotonic() < latest, f"no process {name} has come back: {running}"
            time.sleep(0.02)

    def _ask(self, query: Callable[[Connection], object]) -> None:
        """Run it until it succeeds."""
        latest = time.monotonic() + PATIENCE_S
        while True:
            try:
                with contextlib.closing(r.connect("127.0.0.1", self._suite.driver_port)) as connection:
                    query(connection)
                return
            except (ReqlRuntimeError, ReqlDriverError, OSError):
                if time.monotonic() > latest:
                    raise
                time.sleep(0.05)
