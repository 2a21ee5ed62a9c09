"""Whether what queries said of many documents together can have been: counters that only grow, sets that nothing is
taken from, and accounts whose money only moves. For these no search is needed.

- A number that only grows is, when it is read, at least what had been added before the query was called, and at most
  what additions were called before it returned. Who asks later is not told less.
- What was in a set stays there, and nothing is in it that nobody has inserted.
- Counters that were read at one moment are a *cut* through all increments. Cuts of one table lie one behind the other:
  of two one has no counter that is less (else two readers have seen two writes in different orders, a "long fork"). And
  if a cut has an increment, it has all that returned before that one was called.
"""

from __future__ import annotations

import bisect
import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from operator import attrgetter

from tests.linearizability.history import NEVER, Addition, Document, Effect, Listing, Operation, Snapshot, Total


def wrong_totals(additions: Iterable[Addition], totals: Iterable[Total]) -> list[str]:
    """What is wrong with totals of what has been added. What returned NEVER may have been added or not."""
    additions = list(additions)
    begun = _RunningSum((addition.called, addition.by) for addition in additions)
    done = _RunningSum((addition.returned, addition.by) for addition in additions if addition.returned != NEVER)
    wrong = []
    for total in totals:
        least, most = done.until(total.called), begun.until(total.returned)
        if not least <= total.value <= most:
            wrong.append(f"{total.how} was {total.value}, which should have been from {least} to {most}: {total}")
    return wrong + _shrunk(totals)


def _shrunk(totals: Iterable[Total]) -> list[str]:
    """The totals that are less than one whose query had returned before theirs was called."""
    by_return = sorted(totals, key=attrgetter("returned"))
    greatest: Total | None = None
    earlier = 0
    wrong = []
    for total in sorted(by_return, key=attrgetter("called")):
        while by_return[earlier].returned < total.called:
            if greatest is None or by_return[earlier].value > greatest.value:
                greatest = by_return[earlier]
            earlier += 1
        if greatest is not None and total.value < greatest.value:
            wrong.append(f"it went back: {total} came after {greatest}")
    return wrong


class _RunningSum:
    def __init__(self, changes: Iterable[tuple[float, int]]) -> None:
        ordered = sorted(changes)
        self._times = [time for time, _ in ordered]
        self._sums = [0, *itertools.accumulate(by for _, by in ordered)]

    def until(self, time: float) -> int:
        """The sum of all that came before that time."""
        return self._sums[bisect.bisect_left(self._times, time)]


def wrong_listings(additions: Iterable[Addition], listings: Iterable[Listing]) -> list[str]:
    """What is wrong with listings of a set: elements from nowhere, and such as were there already and are missing."""
    called = {addition.element: addition.called for addition in additions}
    there = {addition.element: addition.returned for addition in additions}
    wrong = []
    listings = sorted(listings, key=attrgetter("returned"))
    for listing in listings:
        for element in listing.elements:
            if called.get(element, NEVER) > listing.returned:
                wrong.append(f"{listing.how} found {element}, which nobody had inserted yet")
            elif there[element] > listing.returned:
                there[element] = listing.returned
    by_time = sorted((time, element) for element, time in there.items() if time != NEVER)
    for listing in listings:
        settled = {element for _, element in by_time[: bisect.bisect_left(by_time, (listing.called, ""))]}
        if missing := settled - listing.elements:
            some = ", ".join(sorted(missing)[:5])
            wrong.append(f"{listing.how} at {listing.called / 1e6:.3f} ms lacks {len(missing)} elements: {some}")
    return wrong


def wrong_snapshots(increments: Sequence[Operation], snapshots: Iterable[Snapshot]) -> list[str]:
    """What is wrong with reads of many counters, each of which is of one moment. A counter's value is the number
    of its increments: what one `left` has its own."""
    called: dict[str, dict[int, float]] = defaultdict(dict)
    returned: dict[str, dict[int, float]] = defaultdict(dict)
    for increment in increments:
        if increment.effect is Effect.ADD and isinstance(increment.left, Document):
            called[increment.key][increment.left.n] = increment.called
            returned[increment.key][increment.left.n] = increment.returned
    wrong = []
    in_order = sorted(snapshots, key=lambda snapshot: (sum(snapshot.counters.values()), snapshot.called))
    for snapshot in in_order:
        latest = max((called[key].get(n, -NEVER) for key, n in snapshot.counters.items()), default=-NEVER)
        for key, n in snapshot.counters.items():
            if returned[key].get(n + 1, NEVER) < latest:
                wrong.append(
                    f"{snapshot.how} lacks number {n + 1} of {key}, but not an increment that was called later"
                )
    for one, other in itertools.pairwise(in_order):
        less = [key for key, n in one.counters.items() if other.counters.get(key, n) < n]
        if less:
            wrong.append(f"{one.how} and {other.how} saw increments in different orders: {one}, {other}")
    totals = [
        Total(snapshot.called, snapshot.returned, sum(snapshot.counters.values()), snapshot.how)
        for snapshot in in_order
    ]
    return wrong + _shrunk(totals)


def wrong_balances(total: int, balances: Iterable[Total]) -> list[str]:
    """The reads of all accounts that did not find all the money, though it only moves from one to the other."""
    return [f"{found.how} found {found.value} of {total}: {found}" for found in balances if found.value != total]
