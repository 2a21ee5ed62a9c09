"""The point reads and writes of a batch, divided by the storage node that they are for, so that none of them waits for
another node than its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")
Asked = TypeVar("Asked")

Traced = Sequence[int]
"""Which ones of a list of queries are traced, by their positions."""

NODE_WAIT_S = 0.02
"""How long the answers from other nodes wait for those of one that takes long."""


def by_node(
    nodes: Sequence[int] | None, items: Sequence[Item], asked: Sequence[Asked], traced: Traced
) -> list[tuple[Sequence[Item], Sequence[Asked], Traced]]:
    """The items, what is asked for them, and which of them are traced: for each node apart, where `nodes` says which
    node each of them is for."""
    if nodes is None:
        return [(items, asked, traced)]
    positions: dict[int, list[int]] = {}
    for position, node in enumerate(nodes):
        positions.setdefault(node, []).append(position)
    if len(positions) == 1:
        return [(items, asked, traced)]
    chosen = set(traced)
    return [
        (
            [items[position] for position in of_node],
            [asked[position] for position in of_node],
            [place for place, position in enumerate(of_node) if position in chosen] if chosen else (),
        )
        for of_node in positions.values()
    ]
