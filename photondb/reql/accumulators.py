"""What aggregates have in common: the interfaces of aggregates and of their accumulators.

An `Aggregate` says what a stream of rows is folded into, and can travel; its `start()` gives the accumulator that does
it. Accumulators of several scans are merged through their partial results, which are JSON values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from photondb.reql.errors import ReqlError, non_existence_error
from photondb.reql.function import Func
from photondb.reql.steps import Fields

UNBOUNDED = 2**53
"""As many rows as there are."""


class Accumulator(Protocol):
    """The state of an aggregate while rows come in."""

    def feed(self, rows: Sequence[Any]) -> None: ...

    def partial(self) -> Any:
        """The state as a JSON value."""
        ...

    def merge(self, partial: Any) -> None:
        """Add the state that another accumulator of the same aggregate had."""
        ...

    def result(self) -> Any:
        """The aggregate's value; raises where there is none (the average of nothing)."""
        ...

    @property
    def empty(self) -> bool:
        """Whether no row has counted, so that a group of such rows is left out."""
        ...

    @property
    def held(self) -> int:
        """How many rows it holds on to."""
        ...


@runtime_checkable
class KeyedAccumulator(Protocol):
    """An accumulator that chooses rows by keys and gives them back as they are, so that a scan can hand it raw
    documents and decode only what the keys are made of. Its partial result is a list of rows."""

    @property
    def key_fields(self) -> Fields | None:
        """The top-level fields that keys are made of; None when it may be all."""
        ...

    def keys_of(self, rows: Sequence[Any]) -> list[Any]:
        """The keys of rows."""
        ...

    def feed_keyed(self, keys: Sequence[Any], rows: Sequence[Any]) -> None:
        """Take rows of which the keys are known, as anything that stands for them."""
        ...


@runtime_checkable
class WeighedAccumulator(Protocol):
    """An accumulator that can become large. Its partial result is a list, and partial results of parts of it may be
    merged as well as all at once; so it can be given up for an empty one at any time, when its partial result is put
    aside before."""

    @property
    def weight(self) -> int:
        """About how many bytes of memory it takes."""
        ...


class Aggregate(Protocol):
    """What a stream is folded into."""

    @property
    def fields(self) -> Fields | None:
        """The top-level fields of a row that it looks at; None when it may look at all."""
        ...

    @property
    def pushable(self) -> bool: ...

    @property
    def most_rows(self) -> int:
        """How many rows its result may have, at most."""
        ...

    def start(self) -> Accumulator: ...

    def to_wire(self) -> dict[str, Any]: ...


class OfFunction:
    """An aggregate over what a function gives for each row (over the rows themselves without one)."""

    most_rows = 1
    name = ""
    fields: Fields | None

    def __init__(self, func: Func | None = None) -> None:
        self.func = func

    @property
    def pushable(self) -> bool:
        return self.func is None or self.func.pushable

    def to_wire(self) -> dict[str, Any]:
        return {self.name: None if self.func is None else self.func.to_wire()}


def nothing_to_take(what: str, name: str) -> ReqlError:
    """The error for the least, greatest or mean of no values."""
    return non_existence_error(
        f"Cannot take the {what} of an empty stream.  (If you passed `{name}` a field name, "
        "it may be that no elements of the stream had that field.)"
    )
