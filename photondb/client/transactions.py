"""Transactions for programs: `with transaction(conn) as tx`, or a function that is called again after a conflict.

This module needs no driver of its own. It works with a connection of the official Python driver, whose package it takes
from the connection; with one of its asyncio connections everything is `async`.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import random
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal

DEFAULT_RETRIES = 10
MAX_PAUSE_S = 0.05
"""How long is waited at most, at random, before a function is called again."""


class Transaction:
    """A transaction that has begun. `id` is for the run option: `query.run(conn, transaction=tx.id)`."""

    def __init__(self, connection: Any, id: str) -> None:
        self.connection = connection
        self.id = id

    def run(self, query: Any, **options: Any) -> Any:
        """Run a query in the transaction. With an asyncio connection the result must be awaited."""
        return query.run(self.connection, transaction=self.id, **options)


class transaction:
    """A transaction on `connection`: a context manager, and a decorator.

    As a context manager it gives a `Transaction`, commits it at the end of the block, and aborts it where the block
    raises. A conflict is the driver's `ReqlOpFailedError`, raised at the end of the block, or by a query in it.

    As a decorator of a function whose first argument is a `Transaction` it calls the function within one, and once
    more within a new one after each conflict, `retries` times at most. What the function does besides queries must bear
    that.

    `isolation` is "serializable" or "snapshot"; `timeout` is how many seconds the transaction may take.
    """

    def __init__(
        self,
        connection: Any,
        *,
        isolation: Literal["serializable", "snapshot"] = "serializable",
        read_only: bool = False,
        timeout: float = 60,
        retries: int = DEFAULT_RETRIES,
    ) -> None:
        self._connection = connection
        self._row = {"isolation": isolation, "read_only": read_only, "timeout": timeout}
        self._retries = retries
        self._driver = importlib.import_module(type(connection).__module__.partition(".")[0])
        self._table = self._driver.r.db("rethinkdb").table("transactions")
        self._begun: list[Transaction] = []

    # --- with a connection that blocks

    def __enter__(self) -> Transaction:
        return self._enter(self._begin().run(self._connection))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        begun = self._begun.pop()
        if error is None:
            self._end(begun, "commit").run(self._connection)
            return
        with suppress(self._driver.errors.ReqlError):  # it may be over already; if not, it will time out
            self._end(begun, "abort").run(self._connection)

    # --- with an asyncio connection

    async def __aenter__(self) -> Transaction:
        return self._enter(await self._begin().run(self._connection))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        begun = self._begun.pop()
        if error is None:
            await self._end(begun, "commit").run(self._connection)
            return
        with suppress(self._driver.errors.ReqlError):  # it may be over already; if not, it will time out
            await self._end(begun, "abort").run(self._connection)

    # --- as a decorator

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def call_async(*args: Any, **kwargs: Any) -> Any:
                for attempt in range(self._retries + 1):
                    try:
                        async with self._again() as begun:
                            return await function(begun, *args, **kwargs)
                    except self._driver.errors.ReqlOpFailedError as error:
                        if attempt == self._retries or not _is_conflict(error):
                            raise
                    await asyncio.sleep(random.uniform(0, MAX_PAUSE_S))
                raise AssertionError("the last attempt returns or raises")

            return call_async

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            for attempt in range(self._retries + 1):
                try:
                    with self._again() as begun:
                        return function(begun, *args, **kwargs)
                except self._driver.errors.ReqlOpFailedError as error:
                    if attempt == self._retries or not _is_conflict(error):
                        raise
                time.sleep(random.uniform(0, MAX_PAUSE_S))
            raise AssertionError("the last attempt returns or raises")

        return call

    def _again(self) -> transaction:
        """Another transaction of the same kind, so that calls at the same time do not share one."""
        other = transaction.__new__(transaction)
        other.__dict__.update(self.__dict__, _begun=[])
        return other

    # --- queries

    def _begin(self) -> Any:
        return self._table.insert(self._row)

    def _enter(self, inserted: Any) -> Transaction:
        begun = Transaction(self._connection, inserted["generated_keys"][0])
        self._begun.append(begun)
        return begun

    def _end(self, begun: Transaction, how: str) -> Any:
        return self._table.get(begun.id).update({"state": how})


def _is_conflict(error: Exception) -> bool:
    """Whether the server says that another attempt is right."""
    return "begin again" in str(error).lower()
