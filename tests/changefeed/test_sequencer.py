"""Whatever the bus loses, repeats or brings late, the records come out complete, once, and in order."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photondb.api.storage import LogRecord
from services.changefeed.sequencer import (
    MAX_EARLY_RECORDS,
    AskPosition,
    Deliver,
    Fail,
    Instruction,
    ReadLog,
    RetryLater,
    ShardSequencer,
)


def records(first: int, count: int, time_us: int | None = None) -> list[LogRecord]:
    """Records from sequence `first` on; their times are their numbers, unless one is given."""
    return [
        LogRecord(number, number if time_us is None else time_us, b"key", None, b"{}")
        for number in range(first, first + count)
    ]


def started(sequence: int = 0) -> ShardSequencer:
    sequencer = ShardSequencer()
    assert sequencer.position_known(sequence) == []
    return sequencer


def delivered(instructions: Sequence[Instruction]) -> list[int]:
    return [
        record.sequence
        for instruction in instructions
        if isinstance(instruction, Deliver)
        for record in instruction.records
    ]


def test_batches_in_order_are_delivered_at_once() -> None:
    sequencer = started(4)
    assert delivered(sequencer.batch(5, records(5, 2))) == [5, 6]
    assert delivered(sequencer.batch(7, records(7, 1))) == [7]


def test_batches_before_the_position_is_known_wait_for_it() -> None:
    sequencer = ShardSequencer()
    assert sequencer.batch(3, records(3, 2)) == []
    assert sequencer.batch(5, records(5, 1)) == []
    assert delivered(sequencer.position_known(3)) == [4, 5]


def test_a_repeated_batch_is_ignored() -> None:
    sequencer = started()
    sequencer.batch(1, records(1, 2))
    assert sequencer.batch(1, records(1, 2)) == []
    assert sequencer.batch(1, records(1, 1)) == []


def test_of_a_batch_that_is_known_in_part_the_rest_is_delivered() -> None:
    sequencer = started()
    sequencer.batch(1, records(1, 2, time_us=9))
    assert delivered(sequencer.batch(1, records(1, 4, time_us=9))) == [3, 4]


def test_a_gap_is_read_from_the_log() -> None:
    sequencer = started()
    (read,) = sequencer.batch(4, records(4, 1))
    assert isinstance(read, ReadLog)
    assert read.after == 0
    assert delivered(sequencer.log_read(records(1, 3))) == [1, 2, 3, 4]


def test_only_one_read_is_under_way() -> None:
    sequencer = started()
    sequencer.batch(4, records(4, 1))
    assert sequencer.batch(7, records(7, 1)) == []
    assert sequencer.check() == []
    instructions = sequencer.log_read(records(1, 3))
    assert delivered(instructions) == [1, 2, 3, 4]
    assert instructions[-1] == ReadLog(4, instructions[-1].limit)  # type: ignore[union-attr]


def test_a_gap_that_closes_by_itself_makes_the_read_superfluous() -> None:
    sequencer = started()
    sequencer.batch(2, records(2, 1))
    assert delivered(sequencer.batch(1, records(1, 1))) == [1, 2]
    assert sequencer.log_read(records(1, 2)) == []


def test_an_announced_position_shows_that_the_last_batch_is_missing() -> None:
    sequencer = started(2)
    assert sequencer.batch(3, ()) == []
    (read,) = sequencer.batch(6, ())
    assert isinstance(read, ReadLog)
    assert delivered(sequencer.log_read(records(3, 3))) == [3, 4, 5]


def test_asking_for_the_position_shows_it_too() -> None:
    sequencer = started(2)
    assert sequencer.check() == [AskPosition()]
    (read,) = sequencer.position_known(4)
    assert isinstance(read, ReadLog)
    assert delivered(sequencer.log_read(records(3, 2))) == [3, 4]
    assert sequencer.check() == [AskPosition()]
    assert sequencer.position_known(4) == []


def test_a_batch_that_overtakes_the_answer_about_the_position_is_no_contradiction() -> None:
    sequencer = started(2)
    sequencer.check()
    assert delivered(sequencer.batch(3, records(3, 1))) == [3]
    assert sequencer.position_known(2) == []


def test_storage_that_does_not_answer_is_asked_again() -> None:
    sequencer = started()
    sequencer.batch(2, records(2, 1))
    assert sequencer.read_failed() == [RetryLater()]
    assert sequencer.batch(5, records(5, 1)) == []
    assert sequencer.retry_due() == [AskPosition()]
    (read,) = sequencer.position_known(5)
    assert isinstance(read, ReadLog)
    assert delivered(sequencer.log_read(records(1, 5))) == [1, 2, 3, 4, 5]


def test_early_records_are_kept_up_to_a_limit_and_read_again_beyond() -> None:
    sequencer = started()
    many = MAX_EARLY_RECORDS + 10
    sequencer.batch(2, records(2, many))
    assert sequencer.log_read(records(1, 1))[1:] == [ReadLog(1, 1000)]


def test_a_trimmed_log_ends_it() -> None:
    sequencer = started()
    sequencer.batch(9, records(9, 1))
    (failure,) = sequencer.log_trimmed(5)
    assert isinstance(failure, Fail)
    assert sequencer.batch(10, records(10, 1)) == []
    assert sequencer.check() == []


def test_a_trimmed_log_does_not_matter_when_the_records_came_meanwhile() -> None:
    sequencer = started()
    sequencer.batch(3, records(3, 1))
    sequencer.batch(1, records(1, 2))
    assert sequencer.log_trimmed(3) == []
    assert delivered(sequencer.batch(4, records(4, 1))) == [4]


@pytest.mark.parametrize("first", [1, 3])
def test_numbers_that_are_used_again_end_it(first: int) -> None:
    """Storage lost the end of its log in a crash, and went on from before it."""
    sequencer = started()
    sequencer.batch(1, records(1, 3))
    (failure,) = sequencer.batch(first, records(first, 1, time_us=50))
    assert isinstance(failure, Fail)


def test_a_position_that_goes_back_ends_it() -> None:
    sequencer = started()
    sequencer.batch(1, records(1, 3))
    sequencer.check()
    (failure,) = sequencer.position_known(2)
    assert isinstance(failure, Fail)


def test_a_log_without_what_was_announced_is_looked_at_again() -> None:
    sequencer = started()
    sequencer.batch(5, ())
    assert sequencer.log_read([]) == [RetryLater()]
    assert sequencer.retry_due() == [AskPosition()]


class FaultyWorld:
    """A log, a bus with faults, and storage that answers late or not at all: what happens is drawn at random."""

    def __init__(self, choose: random.Random, begins_at: int) -> None:
        self.choose = choose
        self.log = records(1, begins_at)
        self.bus: list[tuple[int, list[LogRecord]]] = []
        self.calls: list[Instruction] = []
        self.retries = 0
        self.delivered: list[LogRecord] = []
        self.sequencer = ShardSequencer()
        self.calls.append(AskPosition())

    def commit(self) -> None:
        batch = records(len(self.log) + 1, self.choose.randint(1, 4), time_us=len(self.log) + 1)
        self.log += batch
        message = (batch[0].sequence, batch)
        for _ in range(self.choose.choice([0, 1, 1, 1, 2])):
            self.bus.insert(self.choose.randint(0, len(self.bus)), message)

    def announce(self) -> None:
        self.bus.append((len(self.log) + 1, []))

    def message(self) -> None:
        if self.bus:
            self.carry_out(self.sequencer.batch(*self.bus.pop(0)))

    def answer(self, fails: bool = False) -> None:
        if not self.calls:
            return
        call = self.calls.pop(0)
        if fails:
            self.carry_out(self.sequencer.read_failed())
        elif isinstance(call, ReadLog):
            limit = self.choose.randint(1, call.limit)
            self.carry_out(self.sequencer.log_read(self.log[call.after : call.after + limit]))
        else:
            self.carry_out(self.sequencer.position_known(len(self.log)))

    def retry(self) -> None:
        if self.retries:
            self.retries -= 1
            self.carry_out(self.sequencer.retry_due())

    def carry_out(self, instructions: Sequence[Instruction]) -> None:
        for instruction in instructions:
            assert not isinstance(instruction, Fail), instruction.reason
            if isinstance(instruction, Deliver):
                self.delivered += instruction.records
            elif isinstance(instruction, RetryLater):
                self.retries += 1
            else:
                self.calls.append(instruction)
        assert len(self.calls) + self.retries <= 1

    def steps(self) -> Iterator[object]:
        """Something happens, for ever."""
        while True:
            happening = self.choose.randint(0, 9)
            if happening <= 2:
                self.commit()
            elif happening <= 5:
                self.message()
            elif happening == 6:
                self.answer(fails=self.choose.random() < 0.3)
            elif happening == 7:
                self.retry()
            elif happening == 8:
                self.announce()
            else:
                self.carry_out(self.sequencer.check())
            yield happening

    def settle(self) -> None:
        """No faults any more: everything that was begun comes to its end, and one last check is made."""
        self.bus.clear()
        while self.calls or self.retries:
            self.answer()
            self.retry()
        self.carry_out(self.sequencer.check())
        while self.calls or self.retries:
            self.answer()
            self.retry()


@given(st.randoms(use_true_random=False), st.integers(0, 3), st.integers(0, 120))
def test_nothing_is_lost_or_doubled(choose: random.Random, begins_at: int, length: int) -> None:
    world = FaultyWorld(choose, begins_at)
    for _, _ in zip(range(length), world.steps(), strict=False):
        pass
    world.settle()
    assert world.sequencer.delivered == len(world.log)
    begin = world.delivered[0].sequence if world.delivered else len(world.log) + 1
    assert world.delivered == world.log[begin - 1 :]
    assert begin > begins_at
