"""What clients did, when, and what they were told: the histories that the checkers judge.

Times are nanoseconds of one monotonic clock, which all clients share. An operation takes effect at one moment between
`called` and `returned`. One whose client lost its connection, or was told that nobody knows what came of it, is not
`certain`: it may have been carried out at any time since it was called, later ones included, or never.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

NEVER = math.inf
"""When an operation returned that did not."""


class Document(NamedTuple):
    """A document as the checkers see it: a counter, and the number of the write that it comes from, which no other
    write has."""

    n: int
    token: int


State = Document | None
"""Of a key: its document, or None where there is none."""


class Effect(enum.Enum):
    """What an operation does with the document of its key."""

    READ = "read"
    PUT = "put"
    """A new document in any case, whose counter is 0."""
    INSERT = "insert"
    """The same where there is none, and nothing where there is one."""
    ADD = "add"
    """One more, where there is a document; nothing where there is none."""
    UPSERT = "upsert"
    """One more, or a new document."""
    SET_IF = "set if"
    """One more, where the document is that of the write `expected`."""
    DELETE = "delete"


class Sight(enum.Enum):
    """What an answer can say of a document without telling it."""

    ANYTHING = "anything"
    SOME = "some document"
    EXPECTED = "the document of the write that was expected"
    ANOTHER = "a document of another write"


@dataclass(frozen=True, slots=True)
class Operation:
    """What a client did with one key. `saw` is what the answer says of the state before, `left` of that after it."""

    key: str
    client: int
    called: float
    returned: float
    effect: Effect
    token: int = 0
    expected: int = 0
    saw: State | Sight = Sight.ANYTHING
    left: State | Sight = Sight.ANYTHING
    how: str = ""
    """The query, in words."""

    @property
    def certain(self) -> bool:
        """Whether it is known to have been carried out."""
        return self.returned != NEVER

    def applied(self, state: State) -> State:
        """The state after it."""
        effect = self.effect
        if effect is Effect.READ:
            return state
        if effect is Effect.DELETE:
            return None
        if effect is Effect.PUT or (state is None and effect in (Effect.INSERT, Effect.UPSERT)):
            return Document(0, self.token)
        if state is None or effect is Effect.INSERT or (effect is Effect.SET_IF and state.token != self.expected):
            return state
        return Document(state.n + 1, self.token)

    def answers(self, state: State) -> bool:
        """Whether its answer is right if it was carried out in this state."""
        return self._fits(self.saw, state) and self._fits(self.left, self.applied(state))

    def _fits(self, told: State | Sight, state: State) -> bool:
        if not isinstance(told, Sight):
            return told == state
        if told is Sight.ANYTHING:
            return True
        if state is None:
            return False
        return told is Sight.SOME or (told is Sight.EXPECTED) == (state.token == self.expected)

    @property
    def idle(self) -> bool:
        """Whether its answer says that it has changed nothing."""
        effect, saw = self.effect, self.saw
        if isinstance(saw, Sight):
            return effect is Effect.READ or saw is Sight.ANOTHER or (effect is Effect.INSERT and saw is Sight.SOME)
        return self.applied(saw) == saw

    def told(self) -> list[Document]:
        """The documents that the answer tells."""
        return [one for one in (self.saw, self.left) if isinstance(one, Document)]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one query read of several keys that are never deleted: their counters. All of them at the same moment, if
    the table is on one node."""

    called: float
    returned: float
    counters: Mapping[str, int]
    how: str = ""


@dataclass(frozen=True, slots=True)
class Total:
    """A number that a query has come to: how many documents there are, or what their counters add up to."""

    called: float
    returned: float
    value: int
    how: str = ""


@dataclass(frozen=True, slots=True)
class Addition:
    """So much was added to such a number; an `element` of a set where it is one document that was inserted."""

    called: float
    returned: float
    element: str = ""
    by: int = 1


@dataclass(frozen=True, slots=True)
class Listing:
    """The elements of a set that a query has found."""

    called: float
    returned: float
    elements: frozenset[str]
    how: str = ""


@dataclass
class History:
    """All of it, by what it is about. Lists may be added to by several threads."""

    operations: list[Operation] = field(default_factory=list)
    """On documents that come and go."""
    increments: list[Operation] = field(default_factory=list)
    """On counters, which stay."""
    snapshots: list[Snapshot] = field(default_factory=list)
    sums: list[Total] = field(default_factory=list)
    inserted: list[Addition] = field(default_factory=list)
    counts: list[Total] = field(default_factory=list)
    listings: list[Listing] = field(default_factory=list)
    balances: list[Total] = field(default_factory=list)
    """What all accounts together had."""
    generations: list[Total] = field(default_factory=list)
    made: list[Addition] = field(default_factory=list)
    """Which generation of a table was found that is dropped and made again and again, and when they were made."""
