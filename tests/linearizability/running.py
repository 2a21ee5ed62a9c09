"""A run: a suite, clients that work with it, what is done to it meanwhile, and what is wrong with what they saw."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rethinkdb import r

from tests.linearizability.aggregates import wrong_balances, wrong_listings, wrong_snapshots, wrong_totals
from tests.linearizability.faults import Faults
from tests.linearizability.history import Addition, Effect, History, Operation
from tests.linearizability.registers import violations
from tests.linearizability.workload import (
    ACCOUNTS,
    BALANCE,
    COUNTER_KEYS,
    PATIENCE_S,
    Client,
    Names,
    prepare,
)
from tests.running_suite import PHOTONDB, RunningSuite


@dataclass(frozen=True)
class Deployment:
    """How a suite runs. With `shards` tables are spread; `padding` makes counters so large that scan workers read
    them."""

    name: str
    processes: bool = False
    arguments: tuple[str, ...] = ()
    environ: dict[str, str] = field(default_factory=dict)
    shards: int = 1
    divided: bool = False
    """Whether faults divide tables anew."""
    padding: int = 0
    program: tuple[str, ...] = PHOTONDB
    """What is run instead of `photondb`."""

    @property
    def one_moment(self) -> bool:
        """Whether what a query reads of a table is of one moment."""
        return self.shards == 1 and not self.divided


@dataclass
class Run:
    """What came of it."""

    history: History
    faults: list[str]

    def anomalies(self, deployment: Deployment) -> list[str]:
        """What cannot have been."""
        history = self.history
        created = [Operation(key, 0, 0, 0, Effect.UPSERT, how="created") for key in COUNTER_KEYS]
        found = [str(violation) for violation in violations(history.operations)]
        found += [str(violation) for violation in violations([*created, *history.increments])]
        if deployment.one_moment:
            found += wrong_snapshots(history.increments, history.snapshots)
        found += wrong_totals(_additions(history), history.sums)
        found += wrong_totals(history.inserted, history.counts)
        found += wrong_totals(history.made, history.generations)
        found += wrong_listings(history.inserted, history.listings)
        return found + wrong_balances(ACCOUNTS * BALANCE, history.balances)


def _additions(history: History) -> list[Addition]:
    """What was added to the sum of the counters."""
    return [Addition(one.called, one.returned) for one in history.increments if one.effect is Effect.ADD]


def run(
    deployment: Deployment,
    path: Path,
    seed: int,
    *,
    clients: int,
    operations: int,
    faults: Sequence[Callable[[Faults], str]] = (),
    until: float = 0.0,
) -> Run:
    """Run `clients` until each of them has done so many `operations` before, between and after `faults`, and then go on
    with any faults `until` that time of the monotonic clock, in seconds."""
    names, history, tokens = Names(), History(), itertools.count(1)
    done: list[str] = []
    with RunningSuite(
        path,
        processes=deployment.processes,
        arguments=deployment.arguments,
        environ=deployment.environ,
        program=deployment.program,
    ) as suite:
        with contextlib.closing(r.connect("127.0.0.1", suite.driver_port)) as connection:
            prepare(connection, deployment.shards, deployment.padding)
        working = [
            Client(number, seed, lambda: suite.driver_port, deployment.shards, names, history, tokens)
            for number in range(clients)
        ]
        nemesis = Faults(suite, names, history, seed, processes=deployment.processes, spread=deployment.divided)
        for client in working:
            client.start()
        try:
            _progress(working, operations, done)
            for fault in faults:
                done.append(fault(nemesis))
                names.round += 1
                _progress(working, operations, done)
            while time.monotonic() < until:
                done.append(nemesis.any())
                names.round += 1
                _progress(working, operations, done)
        finally:
            for client in working:
                client.ended.set()
            for client in working:
                client.join(PATIENCE_S)
        for client in working:
            assert not client.is_alive(), done
            if client.error is not None:
                raise client.error
        with contextlib.closing(r.connect("127.0.0.1", suite.driver_port)) as connection:
            r.table(names.registers).wait().run(connection)
            last = Client(clients, seed, lambda: suite.driver_port, deployment.shards, names, history, tokens)
            last.read_everything(connection)
    return Run(history, done)


def _progress(clients: Sequence[Client], operations: int, done: Sequence[str]) -> None:
    """Wait until each client has done so many more operations."""
    goals = [client.done + operations for client in clients]
    latest = time.monotonic() + PATIENCE_S
    while any(client.done < goal for client, goal in zip(clients, goals, strict=True)):
        for client in clients:
            if client.error is not None:
                raise client.error
        assert time.monotonic() < latest, f"clients did not go on after {done[-1:]}"
        time.sleep(0.02)
