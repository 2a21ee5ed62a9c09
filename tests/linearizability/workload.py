"""Clients that read and write the same few documents over the official driver, in all the ways that the server has
paths of its own for, and note what they were told.

There are four tables. `registers` has documents that come and go; a few at a time are used much, so that each has a
short and busy history. `counters` has documents that are only incremented, so that what is read of many together can be
judged. `members` is a set that is only inserted into, and between `accounts` money is moved by transactions. These
have some more documents, which stay as they are. The table `generations` is dropped and made anew by faults.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from rethinkdb import r
from rethinkdb.errors import (
    ReqlAvailabilityError,
    ReqlDriverError,
    ReqlOpIndeterminateError,
    ReqlResourceLimitError,
)
from rethinkdb.net import Connection

from tests.linearizability.history import (
    NEVER,
    Addition,
    Document,
    Effect,
    History,
    Listing,
    Operation,
    Sight,
    Snapshot,
    State,
    Total,
)

HOT = 6
"""So many registers are used at a time."""
COLD = 150
"""So many are used now and then."""
COUNTERS = 24
ACCOUNTS = 8
BALANCE = 100
STILL = 1100
"""So many documents of each table nobody changes. They make it large enough to be kept as columns."""
BATCH = 4
"""So many members are inserted together."""

PATIENCE_S = 120.0

REFUSED = (ReqlAvailabilityError, ReqlResourceLimitError)
"""Errors that say that nothing was done (of ReqlAvailabilityError one kind says something else)."""
UNKNOWN = (ReqlOpIndeterminateError, ReqlDriverError, OSError)
"""Errors after which nobody knows whether something was done."""


class Names:
    """What things are called at the moment, while faults change it."""

    def __init__(self) -> None:
        self.registers = "registers"
        self.round = 0
        self.index: str | None = None
        """An index of the counters, while there is one."""

    def hot_keys(self, earlier: int = 0) -> list[str]:
        """The registers that are used now, or so many rounds ago."""
        return [f"{max(self.round - earlier, 0):04}-{number}" for number in range(HOT)]


def prepare(connection: Connection, shards: int, padding: int) -> None:
    """Make the tables, of so many shards. Documents of counters get so many bytes of padding."""
    for name in ("registers", "counters", "members"):
        r.table_create(name, shards=shards).run(connection)
    for name in ("accounts", "generations"):
        r.table_create(name).run(connection)
    for name, field in (("registers", "group"), ("registers", "n"), ("counters", "n"), ("members", "group")):
        r.table(name).index_create(field).run(connection)
        r.table(name).index_wait().run(connection)
    still = {"n": -1, "token": 0, "group": "still", "balance": 0}
    for name in ("registers", "counters", "members", "accounts"):
        documents = r.range(STILL * shards).map(lambda n: r.expr(still).merge({"id": n.coerce_to("string")}))
        r.table(name).insert(documents.coerce_to("array"), durability="soft").run(connection)
    pad = "x" * padding
    counters = [{"id": key, "n": 0, "token": 0, "pad": pad} for key in COUNTER_KEYS]
    r.table("counters").insert(counters).run(connection)
    r.table("accounts").insert([{"id": key, "balance": BALANCE} for key in ACCOUNT_KEYS]).run(connection)


COUNTER_KEYS = [f"c{number:03}" for number in range(COUNTERS)]
ACCOUNT_KEYS = [f"a{number}" for number in range(ACCOUNTS)]
COLD_KEYS = [f"cold-{number:03}" for number in range(COLD)]


class Client(threading.Thread):
    """One client. It does something at random until it is told to end, and connects again when it must.

    `port` tells where the suite is, `shards` how many parts tables had at first, `tokens` numbers the writes of all
    clients, and `done` counts what succeeded.
    """

    def __init__(
        self,
        number: int,
        seed: int,
        port: Callable[[], int],
        shards: int,
        names: Names,
        history: History,
        tokens: itertools.count[int],
    ) -> None:
        super().__init__(daemon=True)
        self.done = 0
        self.ended = threading.Event()
        self.error: BaseException | None = None
        self._number = number
        self._random = random.Random(f"{seed} {number}")
        self._port = port
        self._shards = shards
        self._names = names
        self._history = history
        self._tokens = tokens
        self._connection: Connection | None = None
        self._known: dict[str, int] = {}
        """The write that this client saw last of a register."""
        actions: list[tuple[int, Callable[[], None]]] = [
            (30, self._write_register),
            (20, self._read_registers),
            (8, self._add_to_registers),
            (12, self._increment),
            (8, self._read_counters),
            (6, self._sum_counters),
            (4, self._insert_members),
            (6, self._read_members),
            (2, self._transfer),
            (4, self._read_balances),
            (3, self._read_generation),
        ]
        self._actions = [action for _, action in actions]
        self._weights = [weight for weight, _ in actions]

    def run(self) -> None:
        try:
            while not self.ended.is_set():
                try:
                    with contextlib.closing(r.connect("127.0.0.1", self._port(), timeout=20)) as self._connection:
                        self._work()
                except UNKNOWN:
                    time.sleep(0.02)
        except BaseException as error:  # told to who started the clients
            self.error = error

    def _work(self) -> None:
        while not self.ended.is_set():
            (action,) = self._random.choices(self._actions, self._weights)
            try:
                action()
            except ReqlOpIndeterminateError:
                continue
            except REFUSED:
                time.sleep(0.005)
            else:
                self.done += 1

    # --- queries

    def _read(self, query: Any) -> tuple[float, Any, float, str]:
        """Run a query that reads, perhaps from the cache: when it was called, the answer, and when it returned."""
        options: dict[str, Any] = {"cache": True} if self._random.random() < 0.3 else {}
        called = time.monotonic_ns()
        answer = query.run(self._connection, **options)
        if not isinstance(answer, (list, dict, int, float, type(None))):
            answer = list(answer)
        return called, answer, time.monotonic_ns(), f"{query}{' cached' if options else ''}"

    def _table(self, name: str) -> Any:
        mode = self._random.choice(["single", "single", "majority", "outdated"])
        return r.table(name) if mode == "single" else r.table(name, read_mode=mode)

    def _durability(self) -> str:
        return self._random.choice(["hard", "soft"])

    # --- registers

    def _key(self) -> str:
        roll = self._random.random()
        if roll < 0.75:
            return self._random.choice(self._names.hot_keys())
        return self._random.choice(self._names.hot_keys(1) if roll < 0.8 else COLD_KEYS)

    def _write_register(self) -> None:
        """One of the ways to write a single document."""
        key, token = self._key(), next(self._tokens)
        registers = r.table(self._names.registers)
        row = registers.get(key)
        whole = {"id": key, "n": 0, "token": token, "group": key[:4], "pad": "p" * self._random.choice([0, 0, 40, 900])}
        one_more = {"n": r.row["n"] + 1, "token": token}
        expected = self._known.get(key, 0)
        ways: list[tuple[Effect, Callable[..., Any]]] = [
            (Effect.PUT, lambda **options: row.replace(whole, **options)),
            (Effect.PUT, lambda **options: registers.insert(whole, conflict="replace", **options)),
            (Effect.INSERT, lambda **options: registers.insert(whole, **options)),
            (
                Effect.UPSERT,
                lambda **options: registers.insert(
                    whole,
                    conflict=lambda _, old, new: old.merge({"n": old["n"] + 1, "token": new["token"]}),
                    **options,
                ),
            ),
            (Effect.ADD, lambda **options: row.update(one_more, **options)),
            (
                Effect.ADD,
                lambda **options: row.update(lambda old: {"n": old["n"] + 1, "token": token}, **options),
            ),
            (
                Effect.ADD,
                lambda **options: row.replace(
                    lambda old: r.branch(old.eq(None), None, old.merge({"n": old["n"] + 1, "token": token})),
                    **options,
                ),
            ),
            (
                Effect.SET_IF,
                lambda **options: row.update(r.branch(r.row["token"].eq(expected), one_more, {}), **options),
            ),
            (Effect.DELETE, lambda **options: row.delete(**options)),
        ]
        effect, write = self._random.choice(ways)
        options: dict[str, Any] = {"durability": self._durability()}
        if self._random.random() < 0.5:
            options["return_changes"] = "always"
        self._change(write(**options), key, effect, token, expected)

    def _change(self, query: Any, key: str, effect: Effect, token: int, expected: int) -> None:
        how = str(query)
        called = time.monotonic_ns()
        try:
            answer = query.run(self._connection)
        except UNKNOWN:
            self._history.operations.append(
                Operation(key, self._number, called, NEVER, effect, token, expected, how=how)
            )
            raise
        returned = time.monotonic_ns()
        saw, left = _seen(answer, effect, token)
        operation = Operation(key, self._number, called, returned, effect, token, expected, saw, left, how)
        self._history.operations.append(operation)
        for document in operation.told():
            self._known[key] = document.token

    def _add_to_registers(self) -> None:
        """Increment several documents with one write, which is one for each document."""
        keys = self._random.sample(self._names.hot_keys(), 3)
        token = next(self._tokens)
        query = (
            r.table(self._names.registers)
            .get_all(*keys)
            .update(
                {"n": r.row["n"] + 1, "token": token},
                return_changes="always",
                durability=self._durability(),
            )
        )
        called = time.monotonic_ns()
        operations = self._history.operations
        try:
            answer = query.run(self._connection)
        except UNKNOWN:
            for key in keys:
                operations.append(Operation(key, self._number, called, NEVER, Effect.ADD, token, how=str(query)))
            raise
        returned = time.monotonic_ns()
        changes = answer.get("changes", ())
        unknown = set(keys) if any("may or may not" in change.get("error", "") for change in changes) else set()
        for change in changes:
            saw, left = _document(change["old_val"]), _document(change["new_val"])
            if saw is not None and "error" not in change:
                key = change["old_val"]["id"]
                unknown.discard(key)
                operations.append(
                    Operation(key, self._number, called, returned, Effect.ADD, token, 0, saw, left, str(query))
                )
        for key in unknown:
            operations.append(Operation(key, self._number, called, NEVER, Effect.ADD, token, how=str(query)))

    def _read_registers(self) -> None:
        """One of the ways to read one document or several."""
        names = self._names
        table = self._table(names.registers)
        earlier = self._random.choice([0, 0, 0, 1])
        keys = names.hot_keys(earlier)
        group = keys[0][:4]
        one, few = self._key(), self._random.sample(keys, 3)
        low, high = keys[1], keys[-1]
        bottom = self._random.choice([0, 1, 2])
        shapes: list[tuple[list[str], Any]] = [
            ([one], table.get(one)),
            ([one], table.get(one)),
            ([one], table.get(one)),
            ([one], table.get(one).pluck("id", "n", "token").default(None)),
            ([one], table.get(one).merge({"seen": True}).default(None)),
            (few, table.get_all(*few)),
            (few, r.expr(few).map(lambda key: table.get(key))),
            (keys[1:-1], table.between(low, high)),
            (keys, table.between(low, high, left_bound="open", right_bound="closed").union(table.get_all(*keys[:2]))),
            (keys, table.get_all(group, index="group")),
            (keys, table.filter({"group": group})),
            (keys, table.filter(lambda row: row["group"].eq(group)).order_by("id")),
            (keys, table.order_by(index="id").filter({"group": group}).pluck("id", "n", "token")),
            # Of the following only what they find is told, not what they lack.
            ([], table.order_by(index=r.desc("n")).limit(5)),
            ([], table.between(bottom, 1000, index="n").order_by(index="n").limit(7)),
            ([], table.order_by(r.desc("token")).limit(4)),
            ([], table.filter({"group": group}).order_by(r.desc("n")).limit(2)),
            ([], table.max("token").default(None)),
            ([], table.filter({"group": group})),
        ]
        asked, query = self._random.choice(shapes)
        called, answer, returned, how = self._read(query)
        rows = [row for row in (answer if isinstance(answer, list) else [answer]) if row is not None]
        found = {row["id"]: _document(row) for row in rows if row["token"]}
        for key in {*asked, *found}:
            saw = found.get(key)
            self._history.operations.append(
                Operation(key, self._number, called, returned, Effect.READ, saw=saw, how=how)
            )
            if saw is not None:
                self._known[key] = saw.token

    def read_everything(self, connection: Connection) -> None:
        """Read all that is there, one after the other, as the last of all."""
        self._connection = connection
        keys = [f"{round_:04}-{number}" for round_ in range(self._names.round + 1) for number in range(HOT)] + COLD_KEYS
        table = r.table(self._names.registers)
        for query in (table, table.between(0, r.maxval, index="n"), table.get_all(*keys), r.expr(keys).map(table.get)):
            called, answer, returned, how = self._read(query)
            found = {row["id"]: _document(row) for row in answer if row is not None and row["token"]}
            for key in {*keys, *found}:
                self._history.operations.append(
                    Operation(key, self._number, called, returned, Effect.READ, saw=found.get(key), how=how[:40])
                )
        for _ in range(8):
            self._read_counters()
            self._sum_counters()
            self._read_members()
            self._read_balances()

    # --- counters

    def _increment(self) -> None:
        key, token = self._random.choice(COUNTER_KEYS), next(self._tokens)
        query = (
            r.table("counters")
            .get(key)
            .update(
                {"n": r.row["n"] + 1, "token": token},
                return_changes=True,
                durability=self._durability(),
            )
        )
        called = time.monotonic_ns()
        try:
            answer = query.run(self._connection)
        except UNKNOWN:
            self._history.increments.append(
                Operation(key, self._number, called, NEVER, Effect.ADD, token, how=str(query))
            )
            raise
        returned = time.monotonic_ns()
        saw, left = _seen(answer, Effect.ADD, token)
        self._history.increments.append(
            Operation(key, self._number, called, returned, Effect.ADD, token, 0, saw, left, str(query))
        )

    def _read_counters(self) -> None:
        table = self._table("counters")
        queries = [
            table.between("c", "d"),
            table.between("c", "d").without("pad"),
            table.filter(r.row["id"].match("^c")).pluck("id", "n", "token"),
            table.between(0, r.maxval, index="n").order_by(index="n").pluck("id", "n", "token"),
            table.between(0, r.maxval, index="n").pluck("id", "n", "token"),
            table.filter(r.row["n"] >= 0).pluck("id", "n", "token"),
            table.order_by(r.desc("n")).limit(COUNTERS).pluck("id", "n", "token"),
            table.filter(r.row["n"] >= 0).order_by("n").limit(COUNTERS),
            table.order_by(index=r.desc("n")).limit(COUNTERS),
        ]
        if self._names.index is not None:
            queries += [table.between(0, r.maxval, index=self._names.index).pluck("id", "n", "token")] * 4
        called, rows, returned, how = self._read(self._random.choice(queries))
        found = {row["id"]: _document(row) for row in rows}
        for key in COUNTER_KEYS:
            self._history.increments.append(
                Operation(key, self._number, called, returned, Effect.READ, saw=found.get(key), how=how)
            )
        counters = {key: document.n for key, document in found.items() if document is not None}
        self._history.snapshots.append(Snapshot(called, returned, counters, how))

    def _sum_counters(self) -> None:
        table = self._table("counters")
        still = STILL * self._shards
        queries = [
            table.sum("n") + still,
            table.filter(r.row["n"] >= 0).sum("n"),
            table.map(lambda row: row["n"]).reduce(lambda one, other: one + other) + still,
            table.filter(lambda row: row["id"] >= "c").sum("n"),
            table.avg("n") * (COUNTERS + still) + still,
            table.between(0, r.maxval, index="n").sum("n"),
        ]
        called, answer, returned, how = self._read(self._random.choice(queries))
        self._history.sums.append(Total(called, returned, round(answer), how))

    # --- members

    def _insert_members(self) -> None:
        elements = [f"m{next(self._tokens)}" for _ in range(self._random.choice([1, BATCH]))]
        documents = [{"id": element, "group": element[-1]} for element in elements]
        query = r.table("members").insert(
            documents if len(documents) > 1 else documents[0], durability=self._durability()
        )
        called = time.monotonic_ns()
        try:
            answer = query.run(self._connection)
        except UNKNOWN:
            self._history.inserted += [Addition(called, NEVER, element) for element in elements]
            raise
        returned: float = time.monotonic_ns()
        if answer["errors"]:  # some of them may be there
            returned = NEVER
        self._history.inserted += [Addition(called, returned, element) for element in elements]

    def _read_members(self) -> None:
        table = self._table("members")
        if self._random.random() < 0.6:
            queries = [
                table.count() - STILL * self._shards,
                table.filter(r.row["group"] <= "9").count(),
                table.get_all(*"0123456789", index="group").count(),
                table.between("0", ":", index="group").count(),
                table.group("group").count().ungroup().filter(r.row["group"] <= "9").sum("reduction"),
            ]
            called, answer, returned, how = self._read(self._random.choice(queries))
            self._history.counts.append(Total(called, returned, answer, how))
            return
        queries = [
            table.between("m", r.maxval)["id"],
            table.between("0", ":", index="group")["id"],
            table.filter(r.row["group"] <= "9")["id"],
            table.order_by(index="id").filter(r.row["group"] <= "9").pluck("id")["id"],
        ]
        called, answer, returned, how = self._read(self._random.choice(queries))
        self._history.listings.append(Listing(called, returned, frozenset(answer), how))

    # --- accounts

    def _transfer(self) -> None:
        source, target = self._random.sample(ACCOUNT_KEYS, 2)
        amount = self._random.randrange(1, 30)
        accounts = r.table("accounts")
        query = accounts.get_all(source, target).update(
            lambda row: {"balance": row["balance"] + r.branch(row["id"].eq(source), -amount, amount)}
        )
        answer = query.run(self._connection, atomic=True)
        assert answer["replaced"] == 2, answer

    def _read_balances(self) -> None:
        table = self._table("accounts")
        queries = [
            table.sum("balance"),
            table.filter(r.row["balance"] > -1_000_000).sum("balance"),
            table["balance"].coerce_to("array").do(lambda balances: balances.sum()),
            table.filter(r.row["balance"] != 0).sum("balance"),
            table.avg("balance") * (ACCOUNTS + STILL * self._shards),
        ]
        called, answer, returned, how = self._read(self._random.choice(queries))
        self._history.balances.append(Total(called, returned, round(answer), how))

    # --- a table that is made anew

    def _read_generation(self) -> None:
        """Read the number of the present generation, which its only document has as soon as it is written."""
        table = self._table("generations")
        queries = [table["id"], table.order_by(index="id")["id"], table.min("id").default({"id": 0})["id"]]
        called, answer, returned, how = self._read(self._random.choice(queries))
        for generation in answer if isinstance(answer, list) else [answer] if answer else []:
            self._history.generations.append(Total(called, returned, generation, how))


def _document(row: Mapping[str, Any] | None) -> State:
    return None if row is None else Document(row["n"], row["token"])


def _seen(answer: Mapping[str, Any], effect: Effect, token: int) -> tuple[State | Sight, State | Sight]:
    """What the answer to a write of one document says of it before and after."""
    duplicate = effect is Effect.INSERT and "Duplicate primary key" in answer.get("first_error", "")
    if answer["errors"] and not duplicate:
        raise AssertionError(f"a write has failed without an error: {answer}")
    if "changes" in answer:
        (change,) = answer["changes"]
        return _document(change["old_val"]), _document(change["new_val"])
    if answer["skipped"]:
        return None, None
    if answer["inserted"]:
        return None, Document(0, token)
    if answer["unchanged"]:
        return (Sight.ANOTHER, Sight.SOME) if effect is Effect.SET_IF else (None, None)
    if answer["deleted"]:
        return Sight.SOME, None
    if effect is Effect.SET_IF:
        return Sight.EXPECTED, Sight.SOME
    return Sight.SOME, Sight.SOME
