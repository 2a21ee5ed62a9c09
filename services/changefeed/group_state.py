"""Who of a consumer group gets which change: the decisions, without the I/O.

A change is given to one consumer, which acknowledges it later. Until then it counts as not done, and it is given to
another consumer when the first one leaves or takes too long. Changes of one document are given in order: while one of
them is not acknowledged, the later ones wait, or go to the same consumer in the same batch.

A consumer that asks acknowledges the batches before the one that it got last. It cannot acknowledge that one, too,
because drivers ask for a batch while their user still works on the one before. So every batch is followed by an empty
one: who asks after that has done with what came before.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

from photondb.api.catalogue import TableInfo
from photondb.api.feed_records import ShardProgress

MAX_AHEAD = 10_000
"""Changes that may be known and not behind the position up to which everything is acknowledged."""

MAX_BATCH_BYTES = 1_000_000
"""About how much a consumer is given at a time."""

P = TypeVar("P")


class Item(Generic[P]):
    """A change to be given to a consumer: `payload` is what the consumer sees, in `size` bytes."""

    __slots__ = ("key", "order", "payload", "sequence", "shard", "size")

    def __init__(self, shard: int, sequence: int, key: bytes, payload: P, size: int) -> None:
        self.shard = shard
        self.sequence = sequence
        self.key = key
        self.payload = payload
        self.size = size
        self.order = 0


class Deliver(Generic[P]):
    """Give a consumer, which has asked, these changes; none at all is the empty batch that follows another."""

    __slots__ = ("consumer", "items")

    def __init__(self, consumer: int, items: Sequence[Item[P]]) -> None:
        self.consumer = consumer
        self.items = items


class _Document(Generic[P]):
    """The changes of one document that are not acknowledged, in order. The first `held` of them are with `holder`."""

    __slots__ = ("held", "holder", "items")

    def __init__(self) -> None:
        self.items: deque[Item[P]] = deque()
        self.holder: int | None = None
        self.held = 0


class _Consumer(Generic[P]):
    __slots__ = ("batch", "deadline", "followed", "wants")

    def __init__(self) -> None:
        self.batch: list[Item[P]] = []
        self.deadline: float | None = None  # None without a batch, and when the time for it is over
        self.followed = False  # the empty batch has been sent
        self.wants = 0  # how many changes it waits for


class _Shard(Generic[P]):
    __slots__ = ("beyond", "pending", "read")

    def __init__(self, progress: ShardProgress) -> None:
        self.read = progress.position
        self.beyond = set(progress.beyond)
        self.pending: dict[int, Item[P]] = {}  # in the order of sequences, as they come

    def progress(self) -> ShardProgress:
        position = next(iter(self.pending)) - 1 if self.pending else self.read
        self.beyond = {sequence for sequence in self.beyond if sequence > position}
        return ShardProgress(position, sorted(self.beyond))


class GroupState(Generic[P]):
    """The state of a group that has acknowledged `progress`. Times are seconds of one clock."""

    def __init__(self, progress: Sequence[ShardProgress], timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._shards: list[_Shard[P]] = [_Shard(shard) for shard in progress]
        self._documents: dict[bytes, _Document[P]] = {}
        self._ready: list[tuple[int, bytes]] = []  # a heap of documents that nobody holds, by their first change
        self._consumers: dict[int, _Consumer[P]] = {}
        self._waiting: dict[int, None] = {}
        self._orders = 0
        self._free = 0  # changes that nobody has

    # --- what can be seen

    @property
    def read(self) -> list[int]:
        """For each shard the sequence after which changes are wanted next."""
        return [shard.read for shard in self._shards]

    def add_logs(self, info: TableInfo) -> None:
        """Go on with the logs that the table has got since, when it was divided anew."""
        positions = self.read
        known = len(positions)
        info.add_logs(positions)
        self._shards += [_Shard(ShardProgress(position)) for position in positions[known:]]

    @property
    def has_room(self) -> bool:
        """Whether more changes should be read."""
        return sum(len(shard.pending) + len(shard.beyond) for shard in self._shards) < MAX_AHEAD

    @property
    def deadline(self) -> float | None:
        """When `tick` should be called next."""
        deadlines = [consumer.deadline for consumer in self._consumers.values() if consumer.deadline is not None]
        return min(deadlines, default=None)

    def progress(self) -> list[ShardProgress]:
        """What is acknowledged."""
        return [shard.progress() for shard in self._shards]

    # --- events

    def skip(self, shard: int, sequence: int) -> None:
        """The next record of a shard is none of the group's."""
        self._shards[shard].read = sequence

    def change(self, item: Item[P], now: float) -> list[Deliver[P]]:
        """The next record of a shard. One that was acknowledged is left out."""
        shard = self._shards[item.shard]
        shard.read = item.sequence
        if item.sequence in shard.beyond:
            return []
        self._orders += 1
        item.order = self._orders
        shard.pending[item.sequence] = item
        document = self._documents.get(item.key)
        if document is None:
            document = self._documents[item.key] = _Document()
        document.items.append(item)
        self._free += 1
        if document.holder is None and len(document.items) == 1:
            heapq.heappush(self._ready, (item.order, item.key))
        return self._distribute(now)

    def joined(self, consumer: int) -> None:
        """There is a new consumer."""
        self._consumers[consumer] = _Consumer()

    def left(self, consumer: int, now: float) -> list[Deliver[P]]:
        """A consumer has gone; what it had and did not acknowledge goes to others."""
        self._waiting.pop(consumer, None)
        self._release(consumer)
        del self._consumers[consumer]
        return self._distribute(now)

    def asked(self, consumer: int, count: int, now: float) -> list[Deliver[P]]:
        """A consumer asks for up to `count` changes."""
        state = self._consumers[consumer]
        if state.batch and not state.followed:
            state.followed = True
            return [Deliver(consumer, ())]
        self._acknowledge(consumer)
        state.wants = count
        self._waiting[consumer] = None
        return self._distribute(now)

    def tick(self, now: float) -> list[Deliver[P]]:
        """Time has passed."""
        for consumer, state in self._consumers.items():
            if state.deadline is not None and state.deadline <= now:
                self._release(consumer)
        return self._distribute(now)

    # --- what follows from the state

    def _acknowledge(self, consumer: int) -> None:
        """The consumer's batch is done: also what was taken from it because of the time and nobody else has yet."""
        state = self._consumers[consumer]
        for item in state.batch:
            document = self._documents.get(item.key)
            if document is None or document.items[0] is not item:
                continue
            if document.holder == consumer:
                document.held -= 1
            elif document.holder is None:
                self._free -= 1
            else:
                continue
            document.items.popleft()
            shard = self._shards[item.shard]
            del shard.pending[item.sequence]
            shard.beyond.add(item.sequence)
            if not document.held:
                document.holder = None
                self._make_ready(item.key, document)
        state.batch = []
        state.deadline = None
        state.followed = False
        for shard in self._shards:
            shard.progress()  # forgets what is no longer beyond the position

    def _release(self, consumer: int) -> None:
        """Take a consumer's batch from it."""
        state = self._consumers[consumer]
        state.deadline = None
        for item in state.batch:
            document = self._documents.get(item.key)
            if document is not None and document.holder == consumer:
                self._free += document.held
                document.holder, document.held = None, 0
                self._make_ready(item.key, document)

    def _make_ready(self, key: bytes, document: _Document[P]) -> None:
        if document.items:
            heapq.heappush(self._ready, (document.items[0].order, key))
        else:
            del self._documents[key]

    def _distribute(self, now: float) -> list[Deliver[P]]:
        """Give what nobody has to those who wait: to each an equal share at most, so that all have something to do."""
        deliveries: list[Deliver[P]] = []
        while self._waiting and self._free:
            consumer = next(iter(self._waiting))
            state = self._consumers[consumer]
            share = -(-self._free // len(self._consumers))
            batch = self._take(consumer, min(state.wants, share))
            if not batch:
                break
            del self._waiting[consumer]
            state.batch = batch
            state.deadline = now + self.timeout_s
            deliveries.append(Deliver(consumer, batch))
        return deliveries

    def _take(self, consumer: int, count: int) -> list[Item[P]]:
        batch: list[Item[P]] = []
        size = 0
        while self._ready and len(batch) < count and size < MAX_BATCH_BYTES:
            order, key = heapq.heappop(self._ready)
            document = self._documents.get(key)
            if document is None or document.items[0].order != order:
                continue  # what it was in the heap for has been acknowledged late
            for item in document.items:
                if len(batch) == count or size >= MAX_BATCH_BYTES:
                    break
                batch.append(item)
                size += item.size
                document.held += 1
            document.holder = consumer
        self._free -= len(batch)
        batch.sort(key=lambda item: item.order)
        return batch
