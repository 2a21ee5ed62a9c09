"""Whose turn it is at the workers: users take turns, and calls that may last long leave room for others.

A call with no more than the usual time ends soon, one way or another. Calls that asked for more are *lasting*: they may
not have all workers, and those of one user only half of them. So there is always a worker that soon takes a usual call,
and lasting calls of other users find room, too. This is a plain data structure: no threads, clocks or processes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Ticket:
    """One call's place in the queue."""

    user: str
    lasting: bool


class Turns:
    """Calls that wait for one of `workers` workers, and those that have one."""

    def __init__(self, workers: int) -> None:
        self._free = workers
        self._lasting_limit = max(workers - 1, 1)
        self._lasting_limit_of_user = max(workers // 2, 1)
        self._waiting: dict[str, list[Ticket]] = {}
        """By user, whose turn is next first; each user's calls in the order in which they came."""
        self._lasting: Counter[str] = Counter()
        """How many workers have lasting calls, by user."""

    def add(self, ticket: Ticket) -> None:
        """A call wants a worker."""
        self._waiting.setdefault(ticket.user, []).append(ticket)

    def withdraw(self, ticket: Ticket) -> bool:
        """A call wants no worker any more. Returns whether it was still waiting for one."""
        tickets = self._waiting.get(ticket.user, [])
        if ticket not in tickets:
            return False
        tickets.remove(ticket)
        if not tickets:
            del self._waiting[ticket.user]
        return True

    def next(self) -> Ticket | None:
        """The call that gets a worker now; None where no worker is free, or none that waits may have it."""
        if not self._free:
            return None
        for user, tickets in self._waiting.items():
            ticket = next((ticket for ticket in tickets if self._may_begin(ticket)), None)
            if ticket is not None:
                del self._waiting[user]
                tickets.remove(ticket)
                if tickets:
                    self._waiting[user] = tickets  # behind the others
                self._free -= 1
                self._lasting[user] += ticket.lasting
                return ticket
        return None

    def end(self, ticket: Ticket) -> None:
        """A call that had a worker needs it no longer."""
        self._free += 1
        self._lasting[ticket.user] -= ticket.lasting
        if not self._lasting[ticket.user]:
            del self._lasting[ticket.user]

    def _may_begin(self, ticket: Ticket) -> bool:
        return not ticket.lasting or (
            self._lasting[ticket.user] < self._lasting_limit_of_user and self._lasting.total() < self._lasting_limit
        )
