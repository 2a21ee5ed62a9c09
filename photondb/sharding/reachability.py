"""Which of a suite's storage nodes answer."""

from __future__ import annotations

import asyncio
import time

import msgspec

from photondb.api.context import INTERNAL, CallContext
from photondb.rpc.errors import DeadlineExceeded, ServiceUnavailable
from photondb.sharding.suite import Suite

ANSWER_TIMEOUT_MS = 1_000
"""Where the state of nodes is asked for, one that has not answered after this time counts as not being there."""

NOT_REACHED = (ServiceUnavailable, DeadlineExceeded)
"""What is raised for a node that does not answer."""


async def reach(suite: Suite, number: int) -> None:
    """Return when a node has answered. Raises ServiceUnavailable or DeadlineExceeded, which name it, where it does not
    do so within ANSWER_TIMEOUT_MS."""
    soon = until(INTERNAL, ANSWER_TIMEOUT_MS)
    await suite.node(number).ask(lambda api: api.positions(soon, ()))


async def unreachable(suite: Suite) -> frozenset[int]:
    """The numbers of the nodes that do not answer within ANSWER_TIMEOUT_MS."""
    numbers = range(len(suite.nodes))
    found = await asyncio.gather(*(reach(suite, number) for number in numbers), return_exceptions=True)
    for outcome in found:
        if isinstance(outcome, BaseException) and not isinstance(outcome, NOT_REACHED):
            raise outcome
    return frozenset(number for number, outcome in zip(numbers, found, strict=True) if outcome is not None)


async def reach_all(suite: Suite, context: CallContext, timeout_ms: int) -> None:
    """Return when all nodes have answered. Raises ServiceUnavailable or DeadlineExceeded, which name one, where they do
    not within `timeout_ms`."""
    soon = until(context, timeout_ms)
    await suite.ask_all(lambda api: api.positions(soon, ()))


def until(context: CallContext, timeout_ms: int) -> CallContext:
    """The context of calls that must not take longer than that."""
    latest = time.monotonic() + timeout_ms / 1000
    return msgspec.structs.replace(context, deadline=min(context.deadline or latest, latest))
