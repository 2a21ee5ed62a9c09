"""One storage node, as the router has it: its errors name it, and it is told of tables that it has not heard of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from photondb.api.context import INTERNAL
from photondb.api.storage import StorageApi, TableGone
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.rpc.eager import together
from photondb.rpc.errors import DeadlineExceeded, ServiceUnavailable

T = TypeVar("T")

Ask = Callable[[StorageApi], Awaitable[T]]
"""Asks one node something."""


class Node:
    """A storage node by its number. `home` is the one whose catalogue is the truth; None for home itself."""

    def __init__(self, number: int, api: StorageApi, home: StorageApi | None) -> None:
        self.number = number
        self.api = api
        self._home = home

    async def ask(self, ask: Ask[T]) -> T:
        """The node's answer. Raises what it raises; ServiceUnavailable and DeadlineExceeded name it.

        A node may hear of a new table later than who asks about it: where it says TableGone it is told, and asked
        again.
        """
        try:
            try:
                return await ask(self.api)
            except TableGone:
                if self._home is None:
                    raise
            await self.bring_up_to_date(self._home)
            return await ask(self.api)
        except (ServiceUnavailable, DeadlineExceeded) as error:
            raise self._named(error) from None

    async def bring_up_to_date(self, home: StorageApi) -> None:
        """Tell the node of home's catalogue."""
        await self.api.adopt_catalogue(INTERNAL, await home.catalogue(INTERNAL))

    def _named(self, error: ServiceUnavailable | DeadlineExceeded) -> ReqlError:
        kind = DeadlineExceeded if isinstance(error, DeadlineExceeded) else ServiceUnavailable
        indeterminate = error.kind is ErrorKind.OP_INDETERMINATE
        return kind(f"Storage node {self.number}: {error.message}", indeterminate=indeterminate)


async def gathered(answers: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All answers, asked for at the same time. When all have come, or failed, the first error is raised."""
    if len(answers) == 1:
        return [await answers[0]]
    found = await together(answers)
    for answer in found:
        if isinstance(answer, BaseException):
            raise answer
    return found  # type: ignore[return-value]
