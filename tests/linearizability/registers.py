"""Whether what was done with single documents is linearizable: whether each operation can have taken effect at one
moment between its call and its return, so that all answers are right.

A history is linearizable if that of each key is (M. Herlihy, J. Wing, "Linearizability: A Correctness Condition for
Concurrent Objects", TOPLAS 1990), so each is searched alone. The search is that of J. Wing and C. Gong ("Testing and
Verifying Concurrent Objects", JPDC 1993), which tries what may be next, depth first, with the memory of G. Lowe
("Testing for Linearizability", CCPE 2017): a set of operations that led to a state before need not be tried again.
Three things keep it short:

- What fits, and has changed nothing by its own answer, is taken as soon as it may be next: no later place can be better
  for it.
- An operation of which nobody knows whether it was carried out was, if somebody has been told of its write; and before
  that answer came.
- All others of them that do the same are taken in the order of their calls, and only where they change something.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import NamedTuple

from tests.linearizability.history import NEVER, Document, Effect, Operation, State

MAX_STEPS = 2_000_000
"""Beyond so many attempts a history counts as undecided."""


class Undecided(Exception):
    """The search took too long."""


class Violation(NamedTuple):
    """The history of a key that cannot have been: how far the search came at best, and what did not fit there."""

    key: str
    state: State
    """After what could be carried out."""
    stuck: tuple[Operation, ...]
    """One of these would have had to be next."""
    last: tuple[Operation, ...]
    """What was carried out last before that."""

    def __str__(self) -> str:
        lines = [f"{self.key} is not linearizable. After", *map(_line, self.last)]
        lines += [f"it is {self.state}, and none of these can be next:", *map(_line, self.stuck)]
        return "\n".join(lines)


def violations(operations: Iterable[Operation]) -> list[Violation]:
    """The keys whose histories are not linearizable; at first none has a document. Raises Undecided."""
    by_key: dict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        by_key[operation.key].append(operation)
    return [found for key in sorted(by_key) if (found := _Search(key, by_key[key]).run()) is not None]


class _Node(NamedTuple):
    """A place in the search: what has been carried out, as bits by place in the order of calls, and the state then.
    `first` is the first certain operation that has not been."""

    first: int
    done: int
    uncertain: int
    state: State
    remaining: int


class _Search:
    def __init__(self, key: str, operations: Sequence[Operation]) -> None:
        self._key = key
        operations = sorted(_with_known_outcomes(operations), key=attrgetter("called"))
        self._certain = [one for one in operations if one.certain]
        self._uncertain = [one for one in operations if not one.certain]

    def run(self) -> Violation | None:
        node = _Node(0, 0, 0, None, len(self._certain))
        path: list[tuple[Operation | None, _Node, Iterator[tuple[Operation, _Node]]]] = [(None, node, self._next(node))]
        best = path[0][1]
        best_path: list[Operation] = []
        known: set[tuple[int, int, int, State]] = set()
        steps = 0
        while path:
            node = path[-1][1]
            if node.remaining == 0:
                return None
            following = next(path[-1][2], None)
            if following is None:
                path.pop()
                continue
            operation, node = following
            memory = (node.first, node.done >> node.first, node.uncertain, node.state)
            if memory in known:
                continue
            known.add(memory)
            steps += 1
            if steps > MAX_STEPS:
                raise Undecided(f"{self._key}: {len(self._certain)} operations and {len(self._uncertain)} uncertain")
            path.append((operation, node, self._next(node)))
            if node.remaining < best.remaining:
                best = node
                best_path = [taken for taken, _, _ in path[-6:] if taken is not None]
        if not self._certain:
            return None
        return Violation(self._key, best.state, tuple(self._candidates(best)), tuple(best_path))

    def _candidates(self, node: _Node) -> list[Operation]:
        return [self._certain[place] for place in self._places(node)[0]]

    def _places(self, node: _Node) -> tuple[list[int], float]:
        """Which certain operations may be next: those that were called before any other one returned. And when the
        first of them returned."""
        earliest = NEVER
        places = []
        for place in range(node.first, len(self._certain)):
            if node.done >> place & 1:
                continue
            operation = self._certain[place]
            if operation.called > earliest:
                break
            places.append(place)
            earliest = min(earliest, operation.returned)
        return places, earliest

    def _next(self, node: _Node) -> Iterator[tuple[Operation, _Node]]:
        places, earliest = self._places(node)
        certain = self._certain
        state = node.state
        writes = []
        for place in places:
            operation = certain[place]
            if operation.answers(state):
                if operation.idle:
                    yield operation, self._after(node, place, state)
                    return
                writes.append((operation.returned, place, operation.applied(state)))
        for _, place, after in sorted(writes, key=lambda write: write[:2]):
            yield certain[place], self._after(node, place, after)
        tried: set[tuple[Effect, int, int]] = set()
        for place, operation in enumerate(self._uncertain):
            if operation.called > earliest:
                break
            same = (operation.effect, operation.token, operation.expected)
            if node.uncertain >> place & 1 or same in tried:
                continue
            tried.add(same)
            after = operation.applied(state)
            if after != state:
                yield operation, node._replace(uncertain=node.uncertain | 1 << place, state=after)

    def _after(self, node: _Node, place: int, state: State) -> _Node:
        done = node.done | 1 << place
        first = node.first
        while done >> first & 1:
            first += 1
        return _Node(first, done, node.uncertain, state, node.remaining - 1)


def _with_known_outcomes(operations: Sequence[Operation]) -> list[Operation]:
    """The operations, where those that somebody was told of became certain. The others' writes lose their numbers,
    because nobody knows these, so that they are alike."""
    heard: dict[int, float] = {}
    for operation in operations:
        for document in operation.told():
            heard[document.token] = min(heard.get(document.token, NEVER), operation.returned)
        if operation.effect is Effect.SET_IF:
            heard.setdefault(operation.expected, NEVER)
    known = []
    for operation in operations:
        if operation.certain or operation.effect is Effect.DELETE:
            known.append(operation)
        elif operation.token in heard:
            known.append(replace(operation, returned=heard[operation.token]))
        else:
            known.append(replace(operation, token=0))
    return known


def _line(operation: Operation) -> str:
    told = "".join(
        f", {name} {list(value) if isinstance(value, Document) else value}"
        for name, value in (("saw", operation.saw), ("left", operation.left))
    )
    times = f"{operation.called / 1e6:.3f} to {operation.returned / 1e6:.3f} ms"
    write = f" {operation.token}" if operation.token else ""
    return f"  client {operation.client}, {times}: {operation.effect.value}{write} ({operation.how}){told}"
