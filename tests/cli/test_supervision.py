from __future__ import annotations

import random
from signal import SIGKILL, SIGTERM

from hypothesis import given
from hypothesis import strategies as st

from photondb.cli.supervision import (
    Announce,
    Event,
    Exited,
    Finish,
    Instruction,
    Policy,
    Ready,
    Send,
    Spawn,
    StopRequested,
    Supervision,
    Tick,
)
from photondb.hosting.readiness import EXIT_CONFIGURATION

SUITE = [("nats", 0), ("storage", 1), ("query", 1), ("gateway", 2)]
POLICY = Policy(
    first_pause_s=1, max_pause_s=8, stable_after_s=100, start_timeout_s=30, max_failed_starts=3, grace_s=1.5
)


def running_suite() -> Supervision:
    """A suite of which everything is ready since time 0."""
    supervision = Supervision(SUITE, POLICY)
    supervision.begin(0)
    for name, _ in SUITE:
        supervision.handle(Ready(name), 0)
    return supervision


def test_stages_start_one_after_the_other() -> None:
    supervision = Supervision(SUITE, POLICY)
    assert supervision.begin(0) == [Spawn("nats")]
    assert supervision.handle(Ready("nats"), 1) == [Spawn("storage"), Spawn("query")]
    assert supervision.handle(Ready("query"), 2) == []
    assert supervision.handle(Ready("storage"), 3) == [Spawn("gateway")]
    assert supervision.handle(Ready("gateway"), 4) == [Announce()]
    assert supervision.wake_at is None


def test_stages_end_in_the_opposite_order() -> None:
    supervision = running_suite()
    assert supervision.handle(StopRequested(), 10) == [Send("gateway", SIGTERM)]
    assert supervision.wake_at == 11.5
    assert supervision.handle(Exited("gateway", 0), 10.1) == [Send("storage", SIGTERM), Send("query", SIGTERM)]
    assert supervision.handle(Exited("storage", 0), 10.2) == []
    assert supervision.handle(Exited("query", 0), 10.3) == [Send("nats", SIGTERM)]
    assert supervision.handle(Exited("nats", 0), 10.4) == [Finish(0)]


def test_a_child_that_ends_early_while_stopping_is_not_waited_for() -> None:
    supervision = running_suite()
    supervision.handle(StopRequested(), 10)
    assert supervision.handle(Exited("query", -9), 10) == []
    assert supervision.handle(Exited("gateway", 0), 10) == [Send("storage", SIGTERM)]


def test_what_does_not_end_in_time_is_killed() -> None:
    supervision = running_suite()
    supervision.handle(StopRequested(), 10)
    supervision.handle(Exited("gateway", 0), 10.1)
    assert supervision.handle(Tick(), 11.4) == []
    assert supervision.handle(Tick(), 11.5) == [Send("nats", SIGKILL), Send("storage", SIGKILL), Send("query", SIGKILL)]
    assert supervision.wake_at is None
    for name in ("nats", "storage"):
        assert not any(isinstance(done, Finish) for done in supervision.handle(Exited(name, -9), 12))
    assert supervision.handle(Exited("query", -9), 12) == [Finish(0)]


def test_a_second_request_to_stop_changes_nothing() -> None:
    supervision = running_suite()
    supervision.handle(StopRequested(), 10)
    assert supervision.handle(StopRequested(), 11) == []
    assert supervision.wake_at == 11.5


def test_stopping_during_the_start_starts_nothing_more() -> None:
    supervision = Supervision(SUITE, POLICY)
    supervision.begin(0)
    assert supervision.handle(StopRequested(), 1) == [Send("nats", SIGTERM)]
    assert supervision.handle(Ready("nats"), 1) == []  # it was quicker than the signal
    assert supervision.handle(Exited("nats", 0), 1) == [Finish(0)]


def test_stopping_when_nothing_runs() -> None:
    supervision = Supervision([("only", 0)], POLICY)
    supervision.begin(0)
    supervision.handle(Exited("only", 1), 0)
    assert supervision.handle(StopRequested(), 0.5) == [Finish(0)]


def test_a_dead_child_is_started_again_after_pauses_that_double() -> None:
    supervision = running_suite()
    now, pauses = 0.0, []
    for _ in range(6):
        assert supervision.handle(Exited("query", -11), now) == []
        assert supervision.wake_at is not None
        pauses.append(supervision.wake_at - now)
        now = supervision.wake_at
        assert supervision.handle(Tick(), now - 0.01) == []
        assert supervision.handle(Tick(), now) == [Spawn("query")]
        assert supervision.handle(Ready("query"), now) == []  # the suite is announced only once
    assert pauses == [1, 2, 4, 8, 8, 8]


def test_a_child_that_was_ready_for_long_has_recovered() -> None:
    supervision = running_suite()
    for now in (0.0, 1.0, 3.0):
        supervision.handle(Exited("query", 1), now)
        supervision.handle(Tick(), supervision.wake_at or 0)
        supervision.handle(Ready("query"), now + 1)
    supervision.handle(Exited("query", 1), 104)
    assert supervision.wake_at == 105


def test_a_child_that_was_not_ready_in_time_is_killed_and_started_again() -> None:
    supervision = Supervision([("only", 0)], POLICY)
    supervision.begin(0)
    assert supervision.wake_at == 30
    assert supervision.handle(Tick(), 30) == [Send("only", SIGKILL)]
    assert supervision.handle(Tick(), 31) == []
    assert supervision.handle(Exited("only", -9), 31) == []
    assert supervision.handle(Tick(), 32) == [Spawn("only")]
    assert supervision.handle(Tick(), 91) == []  # it has twice the time now
    assert supervision.handle(Tick(), 92) == [Send("only", SIGKILL)]


def test_a_configuration_error_at_the_start_ends_everything() -> None:
    supervision = Supervision(SUITE, POLICY)
    supervision.begin(0)
    supervision.handle(Ready("nats"), 0)
    assert supervision.handle(Exited("storage", EXIT_CONFIGURATION), 1) == [Send("query", SIGTERM)]
    assert supervision.handle(Exited("query", 0), 1) == [Send("nats", SIGTERM)]
    assert supervision.handle(Exited("nats", 0), 1) == [Finish(1)]


def test_a_configuration_error_later_is_a_failure_like_others() -> None:
    supervision = running_suite()
    assert supervision.handle(Exited("storage", EXIT_CONFIGURATION), 1) == []
    assert supervision.handle(Tick(), 2) == [Spawn("storage")]


def test_a_start_that_keeps_failing_is_given_up_with_a_reason() -> None:
    supervision = Supervision([("nats", 0), ("storage", 1)], POLICY)
    supervision.begin(0)
    supervision.handle(Ready("nats"), 0)
    for now in (0, 10):
        assert supervision.handle(Exited("storage", 1), now) == []
        assert supervision.handle(Tick(), now + 9) == [Spawn("storage")]
    assert supervision.handle(Exited("storage", -11), 20) == [Send("nats", SIGTERM)]
    (finish,) = supervision.handle(Exited("nats", 0), 21)
    assert finish == Finish(1, "storage ended 3 times while the suite was starting, at last by SIGSEGV")


def test_a_child_of_an_earlier_stage_must_be_back_before_the_next_stage_starts() -> None:
    supervision = Supervision([("a", 0), ("b", 1), ("c", 2)], POLICY)
    supervision.begin(0)
    supervision.handle(Ready("a"), 0)
    supervision.handle(Exited("a", 1), 0)
    assert supervision.handle(Ready("b"), 0) == []
    assert supervision.handle(Tick(), 1) == [Spawn("a")]
    assert supervision.handle(Ready("a"), 1) == [Spawn("c")]


@given(st.integers(0, 2**32), st.integers(1, 60))
def test_whatever_happens_the_books_are_in_order(seed: int, length: int) -> None:
    """Play a world that does what it is told, with accidents; then stop it."""
    chance = random.Random(seed)
    supervision = Supervision(SUITE, POLICY)
    running: set[str] = set()
    announced = 0
    finished = False
    now = 0.0

    def obey(instructions: list[Instruction]) -> None:
        nonlocal announced, finished
        for instruction in instructions:
            assert not finished
            match instruction:
                case Spawn(name):
                    assert name not in running
                    running.add(name)
                case Send(name, _):
                    assert name in running
                case Announce():
                    announced += 1
                    assert running == {name for name, _ in SUITE}
                case Finish():
                    finished = True
                    assert not running

    def happen(event: Event) -> None:
        if isinstance(event, Exited):
            running.discard(event.child)
        obey(supervision.handle(event, now))

    obey(supervision.begin(now))
    for _ in range(length):
        if finished:
            break
        now += chance.choice([0.0, 0.1, 2.0, 40.0])
        if supervision.wake_at is not None and supervision.wake_at <= now:
            happen(Tick())
        elif running and chance.random() < 0.6:
            happen(Ready(chance.choice(sorted(running))))
        elif running:
            happen(Exited(chance.choice(sorted(running)), chance.choice([0, 1, -9, EXIT_CONFIGURATION])))
    if not finished:
        happen(StopRequested())
    while not finished:
        assert running
        happen(Exited(min(running), 0))
    assert announced <= 1
