"""The checkers find each anomaly in a small history that has it, and nothing in one that has none."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.linearizability.aggregates import wrong_balances, wrong_listings, wrong_snapshots, wrong_totals
from tests.linearizability.history import (
    NEVER,
    Addition,
    Document,
    Effect,
    Listing,
    Operation,
    Sight,
    Snapshot,
    State,
    Total,
)
from tests.linearizability.registers import violations


def put(token: int, called: float, returned: float = NEVER, saw: State | Sight = Sight.ANYTHING) -> Operation:
    return Operation("k", 0, called, returned, Effect.PUT, token, saw=saw)


def add(token: int, called: float, returned: float = NEVER, saw: State | Sight = Sight.ANYTHING) -> Operation:
    return Operation("k", 0, called, returned, Effect.ADD, token, saw=saw)


def delete(called: float, returned: float = NEVER) -> Operation:
    return Operation("k", 0, called, returned, Effect.DELETE)


def read(state: State, called: float, returned: float) -> Operation:
    return Operation("k", 0, called, returned, Effect.READ, saw=state)


def linearizable(*operations: Operation) -> bool:
    return violations(operations) == []


FIRST = put(1, 0, 1)


def test_one_after_the_other() -> None:
    assert linearizable(read(None, 0, 1), put(1, 2, 3), read(Document(0, 1), 4, 5), delete(6, 7), read(None, 8, 9))


def test_at_the_same_time_either_may_be_first() -> None:
    assert linearizable(FIRST, put(2, 2, 10), read(Document(0, 2), 3, 4), read(Document(0, 2), 5, 6))
    assert linearizable(FIRST, put(2, 2, 10), read(Document(0, 1), 3, 4), read(Document(0, 2), 5, 6))
    assert linearizable(FIRST, put(2, 2, 10), put(3, 2, 10), read(Document(0, 3), 3, 8), read(Document(0, 2), 9, 12))


def test_stale_read() -> None:
    assert not linearizable(FIRST, put(2, 2, 3), read(Document(0, 1), 4, 5))


def test_reads_that_go_back() -> None:
    assert not linearizable(FIRST, put(2, 2, 10), read(Document(0, 2), 3, 4), read(Document(0, 1), 5, 6))


def test_lost_update() -> None:
    assert not linearizable(FIRST, add(2, 2, 5, Document(0, 1)), add(3, 3, 6, Document(0, 1)))
    assert not linearizable(FIRST, add(2, 2, 5), add(3, 3, 6), read(Document(1, 3), 7, 8))
    assert linearizable(FIRST, add(2, 2, 5), add(3, 3, 6), read(Document(2, 3), 7, 8))


def test_a_read_of_what_vanishes() -> None:
    lost = put(2, 2)
    assert linearizable(FIRST, lost, read(Document(0, 1), 3, 4), read(Document(0, 2), 5, 6))
    assert not linearizable(FIRST, lost, read(Document(0, 2), 3, 4), read(Document(0, 1), 5, 6))
    assert not linearizable(FIRST, lost, read(Document(0, 2), 3, 4), read(None, 5, 6))


def test_an_acknowledged_write_that_vanishes() -> None:
    assert not linearizable(FIRST, read(None, 2, 3))
    assert not linearizable(FIRST, add(2, 2, 3), read(Document(0, 1), 4, 5))


def test_a_write_that_failed_may_come_much_later_but_once() -> None:
    late = add(2, 2)
    assert linearizable(FIRST, late, read(Document(0, 1), 10, 11), read(Document(1, 2), 20, 21))
    assert not linearizable(FIRST, late, add(3, 4, 5), read(Document(3, 3), 20, 21))
    assert linearizable(FIRST, add(2, 2), add(4, 2), add(3, 4, 5), read(Document(3, 3), 20, 21))
    assert linearizable(FIRST, delete(2), read(Document(0, 1), 10, 11), read(None, 20, 21))
    assert not linearizable(FIRST, delete(2), read(None, 3, 4), put(3, 5, 6), read(None, 7, 8))
    assert linearizable(FIRST, delete(2), delete(2), read(None, 3, 4), put(3, 5, 6), read(None, 7, 8))


def test_a_read_from_nowhere_or_of_the_future() -> None:
    assert not linearizable(FIRST, read(Document(0, 9), 2, 3))
    assert not linearizable(FIRST, put(2, 4, 5), read(Document(0, 2), 2, 3))
    assert not linearizable(FIRST, put(2, 4), read(Document(0, 2), 2, 3))


def test_compare_and_set() -> None:
    def set_if(expected: int, token: int, saw: Sight) -> Operation:
        return Operation("k", 0, 2, 5, Effect.SET_IF, token, expected, saw)

    assert linearizable(FIRST, set_if(1, 2, Sight.EXPECTED), set_if(1, 3, Sight.ANOTHER))
    assert not linearizable(FIRST, set_if(1, 2, Sight.EXPECTED), set_if(1, 3, Sight.EXPECTED))
    assert not linearizable(FIRST, set_if(1, 2, Sight.ANOTHER))


def test_an_answer_that_contradicts_itself() -> None:
    wrong = Operation("k", 0, 2, 3, Effect.ADD, 2, saw=Document(0, 1), left=Document(2, 2))
    assert not linearizable(FIRST, wrong)


def test_what_is_told_of_a_violation() -> None:
    (found,) = violations([FIRST, put(2, 2, 3), read(Document(0, 1), 4, 5)])
    assert (found.key, found.state) == ("k", Document(0, 2))
    assert found.stuck == (read(Document(0, 1), 4, 5),)
    assert "none of these can be next" in str(found)


@settings(max_examples=examples(40))
@given(st.data())
def test_what_is_carried_out_in_some_order_is_linearizable(data: st.DataObject) -> None:
    """Each operation takes effect at its place in a list; its call came somewhat before, its return somewhat later or
    never. If something else is told to the reader who came last, it is not."""
    state: State = None
    operations = []
    for place in range(data.draw(st.integers(1, 30))):
        effect = data.draw(st.sampled_from(list(Effect)))
        operation = Operation("k", 0, 0, 0, effect, place + 1, data.draw(st.integers(0, place)))
        after = operation.applied(state)
        called = place - data.draw(st.floats(0, 6))
        returned = NEVER if data.draw(st.integers(0, 9)) == 0 else place + data.draw(st.floats(0, 6))
        told = returned != NEVER and (effect is Effect.READ or data.draw(st.booleans()))
        saw, left = (state, after) if told else (Sight.ANYTHING, Sight.ANYTHING)
        operations.append(Operation("k", 0, called, returned, effect, place + 1, operation.expected, saw, left))
        state = after
    assert linearizable(*operations, read(state, 100, 101))
    assert not linearizable(*operations, read(Document(99, 99), 100, 101))


# --- many documents together


def test_totals() -> None:
    additions = [Addition(0, 1), Addition(2, 5), Addition(2, NEVER)]
    assert wrong_totals(additions, [Total(3, 4, 1), Total(3, 4, 2), Total(3, 4, 3), Total(6, 7, 3)]) == []
    assert len(wrong_totals(additions, [Total(3, 4, 0)])) == 1
    assert len(wrong_totals(additions, [Total(6, 7, 1)])) == 1
    assert len(wrong_totals(additions, [Total(6, 7, 4)])) == 1
    (back,) = wrong_totals(additions, [Total(2.5, 3, 2), Total(3.5, 4, 1)])
    assert "went back" in back


def test_listings() -> None:
    additions = [Addition(0, 1, "a"), Addition(2, 5, "b"), Addition(2, NEVER, "c")]

    def listing(called: float, elements: str) -> Listing:
        return Listing(called, called + 1, frozenset(elements))

    assert wrong_listings(additions, [listing(3, "a"), listing(6, "ab"), listing(8, "abc")]) == []
    assert len(wrong_listings(additions, [listing(6, "a")])) == 1
    assert len(wrong_listings(additions, [listing(6, "abc"), listing(8, "ab")])) == 1
    assert len(wrong_listings(additions, [listing(0.5, "ab")])) == 1
    assert len(wrong_listings(additions, [listing(6, "abx")])) == 1


def incremented(key: str, n: int, called: float, returned: float) -> Operation:
    return Operation(key, 0, called, returned, Effect.ADD, n + 100, left=Document(n, n + 100))


def test_snapshots() -> None:
    increments = [incremented("a", 1, 0, 9), incremented("b", 1, 0, 9), incremented("a", 2, 10, 11)]

    def snapshot(called: float, a: int, b: int) -> Snapshot:
        return Snapshot(called, called + 1, {"a": a, "b": b})

    assert wrong_snapshots(increments, [snapshot(1, 0, 0), snapshot(1, 1, 0), snapshot(5, 1, 1)]) == []
    (fork,) = wrong_snapshots(increments, [snapshot(1, 1, 0), snapshot(1, 0, 1)])
    assert "different orders" in fork
    (lacking,) = wrong_snapshots(increments, [snapshot(9.5, 2, 0)])
    assert "lacks number 1 of b" in lacking
    (back,) = wrong_snapshots(increments, [snapshot(1, 1, 0), snapshot(3, 0, 0)])
    assert "went back" in back


def test_balances() -> None:
    assert wrong_balances(100, [Total(0, 1, 100)]) == []
    assert len(wrong_balances(100, [Total(0, 1, 99)])) == 1
