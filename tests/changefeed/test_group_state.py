"""Consumer groups against a model: at least once, in order, to one at a time, and nothing is lost over crashes."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from photondb.api.feed_records import ShardProgress
from services.changefeed import group_state
from services.changefeed.group_state import Deliver, GroupState, Item
from tests.examples import examples

TIMEOUT_S = 10.0
SHARDS = 2


class Consumer:
    """A client. It has done with a batch as soon as it asks after the empty one that follows it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.asked = False
        self.batch: list[Item[Any]] = []  # what it got last
        self.followed = False
        self.has_until = 0.0  # the time from which others may have it, too


class GroupModel(RuleBasedStateMachine):
    consumers: Bundle[Consumer] = Bundle("consumers")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.logs: list[list[bytes | None]] = [[] for _ in range(SHARDS)]  # keys; None for what is not the group's
        self.kept = [ShardProgress(0) for _ in range(SHARDS)]
        self.living: dict[int, Consumer] = {}
        self.numbers = 0
        self.acknowledged: set[tuple[int, int]] = set()  # what the group was told, since the last crash
        self.done: Counter[tuple[int, int]] = Counter()  # what some client has done with, ever
        self.begin()

    def begin(self) -> None:
        self.state: GroupState[int] = GroupState(self.kept, TIMEOUT_S)
        self.acknowledged = {
            (shard, sequence)
            for shard, progress in enumerate(self.kept)
            for sequence in [*range(1, progress.position + 1), *progress.beyond]
        }

    def read(self) -> None:
        """Hand all of the log to the group, as far as it has room."""
        for shard, log in enumerate(self.logs):
            for sequence in range(self.state.read[shard] + 1, len(log) + 1):
                key = log[sequence - 1]
                if key is None:
                    self.state.skip(shard, sequence)
                else:
                    self.take(self.state.change(Item(shard, sequence, key, 0, 1), self.now))

    def take(self, deliveries: list[Deliver[int]]) -> None:
        for delivery in deliveries:
            consumer = self.living[delivery.consumer]
            assert consumer.asked, "nobody is given what he did not ask for"
            consumer.asked = False
            if not delivery.items:
                assert consumer.batch
                assert not consumer.followed
                consumer.followed = True
                continue
            self.check(consumer, list(delivery.items))
            consumer.batch = list(delivery.items)
            consumer.followed = False
            consumer.has_until = self.now + TIMEOUT_S

    def check(self, consumer: Consumer, items: list[Item[Any]]) -> None:
        """A batch holds what is not acknowledged, each document's changes from the first on and without a hole, and no
        document that another consumer works on."""
        given: set[tuple[int, int]] = set()
        for item in items:
            assert (item.shard, item.sequence) not in self.acknowledged
            for sequence in range(1, item.sequence):
                if self.logs[item.shard][sequence - 1] == item.key:
                    assert (item.shard, sequence) in self.acknowledged | given
            given.add((item.shard, item.sequence))
        keys = {item.key for item in items}
        for other in self.living.values():
            if other is not consumer and other.has_until > self.now:
                assert keys.isdisjoint(item.key for item in other.batch)

    @rule(shard=st.integers(0, SHARDS - 1), keys=st.lists(st.sampled_from([None, 0, 1]), min_size=1, max_size=5))
    def commit(self, shard: int, keys: list[int | None]) -> None:
        self.logs[shard] += [None if key is None else bytes([shard, key]) for key in keys]
        self.read()

    @rule(target=consumers)
    def join(self) -> Consumer:
        self.numbers += 1
        consumer = Consumer(self.numbers)
        self.living[consumer.number] = consumer
        self.state.joined(consumer.number)
        return consumer

    @rule(consumer=consumers, count=st.integers(1, 4))
    def ask(self, consumer: Consumer, count: int) -> None:
        if consumer.asked or consumer.number not in self.living:
            return
        consumer.asked = True
        if consumer.followed:
            for item in consumer.batch:
                self.done[item.shard, item.sequence] += 1
        before = self.state.progress()
        acknowledges = list(consumer.batch) if consumer.followed else []
        was = self.acknowledged
        if acknowledges:
            in_time = consumer.has_until > self.now
            held = {
                item.key
                for other in self.living.values()
                if other is not consumer and other.has_until > self.now
                for item in other.batch
            }
            self.acknowledged = was | {
                (item.shard, item.sequence) for item in acknowledges if in_time or item.key not in held
            }
            consumer.batch, consumer.followed, consumer.has_until = [], False, 0.0
        self.take(self.state.asked(consumer.number, count, self.now))
        if not acknowledges:
            assert self.state.progress() == before

    @rule(consumer=consumers, count=st.integers(1, 4))
    def work(self, consumer: Consumer, count: int) -> None:
        """Do with a batch, if there is one, and ask for the next."""
        self.ask(consumer, count)
        self.ask(consumer, count)

    @rule(count=st.integers(1, 4))
    def all_ask(self, count: int) -> None:
        for consumer in list(self.living.values()):
            self.ask(consumer, count)

    @rule(consumer=consumes(consumers))
    def leave(self, consumer: Consumer) -> None:
        if consumer.number in self.living:
            del self.living[consumer.number]
            self.take(self.state.left(consumer.number, self.now))

    @rule(seconds=st.sampled_from([1.0, TIMEOUT_S / 2, TIMEOUT_S]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.take(self.state.tick(self.now))

    @rule()
    def keep(self) -> None:
        self.kept = self.state.progress()

    @rule(target=consumers)
    def crash(self) -> Any:
        self.living.clear()
        self.begin()
        self.read()
        return multiple()

    @invariant()
    def what_is_kept_is_what_was_acknowledged(self) -> None:
        for shard, progress in enumerate(self.state.progress()):
            log = self.logs[shard]
            claimed = {*range(1, progress.position + 1), *progress.beyond}
            claimed = {sequence for sequence in claimed if log[sequence - 1] is not None}
            told = {sequence for at, sequence in self.acknowledged if at == shard and log[sequence - 1] is not None}
            assert claimed == told
            assert all(self.done[shard, sequence] for sequence in claimed), "nothing is acknowledged that is not done"

    @invariant()
    def nobody_waits_beside_work(self) -> None:
        waiting = [consumer for consumer in self.living.values() if consumer.asked]
        if waiting:
            busy = {
                item.key
                for consumer in self.living.values()
                if consumer.has_until > self.now
                for item in consumer.batch
            }
            for shard, log in enumerate(self.logs):
                for sequence, key in enumerate(log, 1):
                    assert key is None or (shard, sequence) in self.acknowledged or key in busy

    def teardown(self) -> None:
        """One consumer that works gets all that is left."""
        for consumer in list(self.living.values()):
            self.leave(consumer)
        consumer = self.join()
        while True:
            self.ask(consumer, 3)
            if consumer.asked:
                break
        for shard, log in enumerate(self.logs):
            for sequence, key in enumerate(log, 1):
                assert key is None or self.done[shard, sequence]
            assert self.state.progress()[shard] == ShardProgress(len(log), [])


TestGroups = GroupModel.TestCase
TestGroups.settings = settings(max_examples=examples(200), stateful_step_count=50)


def item(sequence: int, key: bytes = b"k") -> Item[str]:
    return Item(0, sequence, key, f"change {sequence}", 1)


def group(*consumers: int) -> GroupState[str]:
    state: GroupState[str] = GroupState([ShardProgress(0)], TIMEOUT_S)
    for consumer in consumers:
        state.joined(consumer)
    return state


def test_asking_once_more_acknowledges_nothing_because_drivers_do_so_in_advance() -> None:
    state = group(1)
    state.asked(1, 10, 0.0)
    (given,) = state.change(item(1), 0.0)
    assert [change.payload for change in given.items] == ["change 1"]
    (empty,) = state.asked(1, 10, 0.0)
    assert not empty.items
    assert state.progress() == [ShardProgress(0)]
    assert state.asked(1, 10, 0.0) == []
    assert state.progress() == [ShardProgress(1)]


def test_a_slow_consumer_is_not_given_the_same_for_ever() -> None:
    state = group(1)
    state.asked(1, 10, 0.0)
    state.change(item(1), 0.0)
    assert state.deadline == TIMEOUT_S
    state.tick(TIMEOUT_S)
    assert state.deadline is None
    state.asked(1, 10, TIMEOUT_S)
    assert state.asked(1, 10, TIMEOUT_S) == []  # it was late, but nobody else had it
    assert state.progress() == [ShardProgress(1)]


def test_what_there_is_is_shared_evenly() -> None:
    state = group(1, 2)
    for sequence in range(1, 11):
        state.change(item(sequence, b"%d" % sequence), 0.0)
    (first,) = state.asked(1, 100, 0.0)
    (second,) = state.asked(2, 100, 0.0)
    assert [change.sequence for change in first.items] == [1, 2, 3, 4, 5]
    assert [change.sequence for change in second.items] == [6, 7, 8]


def test_a_batch_is_in_the_order_of_commits() -> None:
    state = group(1)
    for sequence, key in enumerate([b"a", b"b", b"a", b"b"], 1):
        state.change(item(sequence, key), 0.0)
    (given,) = state.asked(1, 100, 0.0)
    assert [change.sequence for change in given.items] == [1, 2, 3, 4]


def test_what_somebody_else_has_done_with_is_not_acknowledged_again() -> None:
    state = group(1, 2)
    state.asked(1, 10, 0.0)
    state.change(item(1), 0.0)
    state.tick(TIMEOUT_S)
    for _ in range(3):
        state.asked(2, 10, TIMEOUT_S)
    assert state.progress() == [ShardProgress(1)]
    state.left(2, TIMEOUT_S)
    state.change(item(2), TIMEOUT_S)
    state.asked(1, 10, TIMEOUT_S)
    (given,) = state.asked(1, 10, TIMEOUT_S)
    assert [change.sequence for change in given.items] == [2]
    assert state.progress() == [ShardProgress(1)]


def test_what_another_works_on_is_not_acknowledged() -> None:
    state = group(1, 2)
    state.asked(1, 10, 0.0)
    state.change(item(1), 0.0)
    state.tick(TIMEOUT_S)
    state.asked(2, 10, TIMEOUT_S)
    state.asked(1, 10, TIMEOUT_S)
    assert state.asked(1, 10, TIMEOUT_S) == []
    assert state.progress() == [ShardProgress(0)]


def test_what_was_acknowledged_out_of_order_is_not_given_again() -> None:
    state: GroupState[str] = GroupState([ShardProgress(0, [2])], TIMEOUT_S)
    state.joined(1)
    for sequence in (1, 2, 3):
        state.change(item(sequence, b"%d" % sequence), 0.0)
    (given,) = state.asked(1, 100, 0.0)
    assert [change.sequence for change in given.items] == [1, 3]
    assert state.progress() == [ShardProgress(0, [2])]


def test_it_reads_no_further_than_it_can_remember(monkeypatch: Any) -> None:
    monkeypatch.setattr(group_state, "MAX_AHEAD", 2)
    state = group(1)
    state.change(item(1, b"a"), 0.0)
    assert state.has_room
    state.change(item(2, b"b"), 0.0)
    assert not state.has_room
    state.asked(1, 10, 0.0)
    state.asked(1, 10, 0.0)
    state.asked(1, 10, 0.0)
    assert state.has_room
