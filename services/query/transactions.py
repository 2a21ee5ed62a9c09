"""Queries in transactions: in one that their client has begun, or each in one of its own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import msgspec

from photondb.api.context import CallContext
from photondb.api.storage import StorageApi
from photondb.api.transactions import TransactionConflict
from photondb.reql.effects import Effects
from photondb.reql.errors import ReqlError
from photondb.reql.runtime import Runtime
from photondb.reql.suspend import wait
from photondb.reql.write_statements import new_key

T = TypeVar("T")

ATOMIC_ATTEMPTS = 10
"""How often an atomic query is carried out at most when others are in the way."""

MAX_PAUSE_S = 0.02
"""How long an atomic query waits at most before it is carried out again. It is chosen at random, so that two that were
in each other's way are not again."""


def in_transaction(runtime: Runtime, effects: Effects, run: Callable[[], T]) -> T:
    """Run a query (inside an evaluation) as a part of the transaction of its context, when it is its turn.

    A query that fails after it may have written something takes the transaction with it, because half of its writes
    must not be committed.
    """
    context = runtime.context
    with runtime.service.turn(context.transaction):
        try:
            return run()
        except BaseException as error:
            if effects & Effects.WRITES:
                _abort(runtime, context, error)
            raise


def atomically(runtime: Runtime, effects: Effects, run: Callable[[], T]) -> T:
    """Run a query (inside an evaluation) as a transaction of its own: all of its effects, or none.

    It is run again when others were in the way, unless it may do something else the next time.
    """
    outer = runtime.context
    attempts = 1 if effects & Effects.NONDETERMINISTIC else ATOMIC_ATTEMPTS
    for attempt in range(1, attempts + 1):
        context = msgspec.structs.replace(outer, transaction=new_key())
        wait(runtime.storage.begin_transaction(context, context.transaction, "serializable", False, 0))
        runtime.context = context
        try:
            result = run()
            wait(runtime.storage.commit_transaction(context, context.transaction))
            return result
        except TransactionConflict:
            if attempt == attempts:
                raise
        except BaseException as error:
            _abort(runtime, context, error)
            raise
        finally:
            runtime.context = outer
        wait(asyncio.sleep(random.uniform(0, MAX_PAUSE_S * attempt / attempts)))
    raise AssertionError("the last attempt returns or raises")


def _abort(runtime: Runtime, context: CallContext, error: BaseException) -> None:
    """Abort the transaction after an error: at once, or (where the query was cancelled and must not wait) soon."""
    ending = _Ending(runtime.storage, context)
    if isinstance(error, Exception):
        wait(ending.close())
    else:
        runtime.service.release(ending)


class _Ending:
    """The end of a transaction, as something that can be closed."""

    def __init__(self, storage: StorageApi, context: CallContext) -> None:
        self._storage = storage
        self._context = msgspec.structs.replace(context, deadline=None)

    async def close(self) -> None:
        with suppress(ReqlError):  # it may be over already
            await self._storage.abort_transaction(self._context, self._context.transaction, "a query of it failed")
