"""Transactions where there are several storage nodes: each is one of a single node, whichever its first query needs.

One that a client has begun is begun on all nodes, because its queries may come through any query service, and none of
these knows which node they will need. Before it is committed all nodes are asked how much of it they have seen. That of
an `atomic` query lives and ends here, so that it is begun on the node that it needs, when it needs it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Collection, Sequence
from contextlib import suppress

import msgspec

from photondb.api.context import CallContext
from photondb.api.transactions import Isolation, TransactionInfo
from photondb.reql.errors import ReqlError, op_failed
from photondb.sharding.nodes import Node, gathered

MAX_REMEMBERED = 10_000
"""Of how many transactions it is remembered here which node they use: so that most of those that use another one are
found out at once, and not only at their end."""

ONE_NODE = (
    "it needed more than one storage node, and a transaction is one of a single node. Tables of one database live "
    "together, unless they are spread: then only documents of one part can be in a transaction"
)
"""Why a transaction is aborted; part of a sentence, as everywhere where reasons are told."""


class NodeTransactions:
    """The transactions of a suite's nodes, as those of one storage."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = nodes
        self._used: OrderedDict[str, int] = OrderedDict()
        """The node that a transaction uses, if that is known here."""
        self._atomic: dict[str, TransactionInfo] = {}
        """The transactions of atomic queries that have not needed any node."""

    async def begin(
        self, context: CallContext, id: str, isolation: Isolation, read_only: bool, timeout_ms: int
    ) -> TransactionInfo:
        """Begin a transaction. Raises ReqlError; then it is begun nowhere."""
        if context.atomic:
            started_us = time.time_ns() // 1000
            info = TransactionInfo(id, context.user, isolation, read_only, timeout_ms, started_us)
            self._atomic[id] = info
            return info
        begun = await asyncio.gather(
            *(
                node.ask(lambda api: api.begin_transaction(context, id, isolation, read_only, timeout_ms))
                for node in self._nodes
            ),
            return_exceptions=True,
        )
        failure = next((answer for answer in begun if isinstance(answer, BaseException)), None)
        if failure is None:
            return begun[0]  # type: ignore[return-value]
        done = [node for node, answer in zip(self._nodes, begun, strict=True) if isinstance(answer, TransactionInfo)]
        if done:
            await self._abort(context, id, "not all storage nodes could begin it", done)
        raise failure

    async def use(self, context: CallContext, nodes: Collection[int]) -> None:
        """A query of the context's transaction is about to ask these nodes. Raises ReqlError where they are not the
        only ones that it needs; then it is aborted."""
        id = context.transaction
        known = self._used.get(id)
        if len(nodes) > 1 or (known is not None and known not in nodes):
            await self.abort(context, id, ONE_NODE)
            raise op_failed(f"Transaction `{id}` was aborted, because {ONE_NODE}.")
        if known is not None or not nodes:
            return
        (number,) = nodes
        self._used[id] = number
        if len(self._used) > MAX_REMEMBERED:
            self._used.popitem(last=False)
        atomic = self._atomic.pop(id, None)
        if atomic is not None:
            await self._node(number).ask(
                lambda api: api.begin_transaction(context, id, atomic.isolation, atomic.read_only, atomic.timeout_ms)
            )

    async def commit(self, context: CallContext, id: str) -> TransactionInfo:
        """Commit a transaction on the node that it uses. Raises what that node raises, and ReqlError where it has used
        several: then it is aborted."""
        if context.atomic:
            return await self._commit_atomic(context, id)
        seen = await gathered([node.ask(lambda api: api.transactions(context, id)) for node in self._nodes])
        told = list(zip(self._nodes, seen, strict=True))
        over = [node for node, infos in told if not any(info.state == "open" for info in infos)]
        if over:  # a node that was restarted has forgotten what was written there: it must not be left out
            await self._abort_rest(context, id, [node for node in self._nodes if node is not over[0]])
            return await over[0].ask(lambda api: api.commit_transaction(context, id))
        used = [node for node, infos in told if any(info.reads or info.writes for info in infos)]
        if len(used) > 1:
            await self.abort(context, id, ONE_NODE)
            raise op_failed(f"Transaction `{id}` was aborted, because {ONE_NODE}.")
        node = used[0] if used else self._nodes[0]
        others = [other for other in self._nodes if other is not node]
        try:
            committed = await node.ask(lambda api: api.commit_transaction(context, id))
        except ReqlError:
            await self._abort_rest(context, id, others)
            raise
        finally:
            self._used.pop(id, None)
        # There is nothing of it on the others: what becomes of it there makes no difference, but for who lists it.
        await asyncio.gather(
            *(other.ask(lambda api: api.commit_transaction(context, id)) for other in others), return_exceptions=True
        )
        return committed

    async def _commit_atomic(self, context: CallContext, id: str) -> TransactionInfo:
        unused = self._atomic.pop(id, None)
        if unused is not None:
            return msgspec.structs.replace(unused, state="committed")
        node = self._node(self._used.pop(id, 0))
        return await node.ask(lambda api: api.commit_transaction(context, id))

    async def abort(self, context: CallContext, id: str, reason: str = "") -> TransactionInfo:
        """End a transaction wherever there is one of this id. Raises ReqlError where there is none."""
        used = self._used.pop(id, None)
        unused = self._atomic.pop(id, None)
        if unused is not None:
            return msgspec.structs.replace(unused, state="aborted", reason=reason)
        nodes = [self._node(used)] if context.atomic and used is not None else self._nodes
        return await self._abort(context, id, reason, nodes)

    async def _abort_rest(self, context: CallContext, id: str, nodes: Sequence[Node]) -> None:
        """End on these nodes a transaction that could not be committed."""
        with suppress(ReqlError):  # it may be over there, too
            await self._abort(context, id, "it could not be committed", nodes)

    async def _abort(self, context: CallContext, id: str, reason: str, nodes: Sequence[Node]) -> TransactionInfo:
        ended = await asyncio.gather(
            *(node.ask(lambda api: api.abort_transaction(context, id, reason)) for node in nodes),
            return_exceptions=True,
        )
        infos = [info for info in ended if isinstance(info, TransactionInfo)]
        if infos:
            return _of_all(infos)
        for error in ended:
            if isinstance(error, BaseException):
                raise error
        raise AssertionError("there is a node")

    async def visible(self, context: CallContext, id: str = "") -> list[TransactionInfo]:
        """The transactions that the user may see, each once."""
        seen = await gathered([node.ask(lambda api: api.transactions(context, id)) for node in self._nodes])
        by_id: dict[str, list[TransactionInfo]] = {}
        for infos in seen:
            for info in infos:
                by_id.setdefault(info.id, []).append(info)
        return [_of_all(infos) for infos in by_id.values()]

    def _node(self, number: int) -> Node:
        return self._nodes[number]


def _of_all(infos: Sequence[TransactionInfo]) -> TransactionInfo:
    """What is to be told of a transaction, from what the nodes tell of it: how it stands where it is used."""
    used = max(infos, key=lambda info: info.reads + info.writes)
    if used.state == "open":
        ended = next((info for info in infos if info.state == "aborted"), used)
        used = msgspec.structs.replace(used, state=ended.state, reason=ended.reason)
    return msgspec.structs.replace(
        used, reads=sum(info.reads for info in infos), writes=sum(info.writes for info in infos)
    )
