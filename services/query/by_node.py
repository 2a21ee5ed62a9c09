"""The point reads and writes of a batch, divided by the storage node that they are for, so that none of them waits for
another node than its own."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

Goal = TypeVar("Goal", bound=Hashable)
Item = TypeVar("Item")
Asked = TypeVar("Asked")

Traced = Sequence[int]
"""Which ones of a list of queries are traced, by their positions."""

NODE_WAIT_S = 0.02
"""How long the answers from other nodes wait for those of one that takes long."""


def by_goal(
    goals: Sequence[Goal], items: Sequence[Item], asked: Sequence[Asked], traced: Traced
) -> list[tuple[Goal, Sequence[Item], Sequence[Asked], Traced]]:
    """The items, what is asked for them, and which of them are traced, for each goal apart: `goals` says which one each
    of them has. There is one item at least."""
    if goals.count(goals[0]) == len(goals):
        return [(goals[0], items, asked, traced)]
    positions: dict[Goal, list[int]] = {}
    for position, goal in enumerate(goals):
        positions.setdefault(goal, []).append(position)
    chosen = set(traced)
    return [
        (
            goal,
            [items[position] for position in of_goal],
            [asked[position] for position in of_goal],
            [place for place, position in enumerate(of_goal) if position in chosen] if chosen else (),
        )
        for goal, of_goal in positions.items()
    ]
