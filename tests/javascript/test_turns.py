from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from photondb.javascript.turns import Ticket, Turns


def begun(turns: Turns) -> list[Ticket]:
    """All calls that get a worker now."""
    return list(iter(turns.next, None))


def tickets(turns: Turns, user: str, count: int, *, lasting: bool = False) -> list[Ticket]:
    """Calls of a user that want a worker."""
    added = [Ticket(user, lasting) for _ in range(count)]
    for ticket in added:
        turns.add(ticket)
    return added


def test_calls_begin_in_the_order_in_which_they_came() -> None:
    turns = Turns(2)
    one, two, three = tickets(turns, "a", 3)
    assert begun(turns) == [one, two]
    turns.end(two)
    assert begun(turns) == [three]


def test_users_take_turns() -> None:
    turns = Turns(1)
    many = tickets(turns, "a", 4)
    (other,) = tickets(turns, "b", 1)
    order = []
    while (ticket := turns.next()) is not None:
        order.append(ticket)
        turns.end(ticket)
    assert order == [many[0], other, *many[1:]]


def test_lasting_calls_leave_workers_to_others() -> None:
    turns = Turns(4)
    greedy = tickets(turns, "a", 4, lasting=True)
    assert begun(turns) == greedy[:2]
    other = tickets(turns, "b", 2, lasting=True)
    assert begun(turns) == other[:1], "one worker is never for lasting calls"
    usual = tickets(turns, "a", 2)
    assert begun(turns) == usual[:1], "a usual call does not wait behind lasting ones of its own user"
    turns.end(greedy[0])
    assert begun(turns) == other[1:]


def test_a_call_that_is_withdrawn_gets_no_worker() -> None:
    turns = Turns(1)
    one, two = tickets(turns, "a", 2)
    assert turns.withdraw(one)
    assert begun(turns) == [two]
    assert not turns.withdraw(two)


@given(
    st.integers(1, 5),
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from("abc"), st.booleans()),
            st.tuples(st.just("end"), st.integers(0, 9)),
            st.tuples(st.just("withdraw"), st.integers(0, 9)),
        ),
        max_size=60,
    ),
)
def test_no_limit_is_passed_and_nobody_waits_for_nothing(workers: int, events: list[tuple[str, int]]) -> None:
    turns = Turns(workers)
    waiting: list[Ticket] = []
    running: list[Ticket] = []
    for event, value in events:
        if event == "end":
            if running:
                turns.end(running.pop(value % len(running)))
        elif event == "withdraw":
            if waiting:
                assert turns.withdraw(waiting.pop(value % len(waiting)))
        else:
            waiting += tickets(turns, event, 1, lasting=bool(value))
        for ticket in begun(turns):
            waiting.remove(ticket)
            running.append(ticket)
        lasting = [ticket.user for ticket in running if ticket.lasting]
        assert len(running) <= workers
        assert len(lasting) <= max(workers - 1, 1)
        assert all(lasting.count(user) <= max(workers // 2, 1) for user in "abc")
        assert len(running) == workers or all(ticket.lasting for ticket in waiting)
