"""Finds the feeds that a change concerns, without asking those that it does not.

Feeds on single keys, of the primary key or of an index, are looked up, and so are those on wider ranges with a filter
for one value of a field. Only the others are tried one by one.
Feeds on the same thing share one evaluation.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any, Protocol

from photondb.reql.pipeline import Decode, field_decoder
from services.changefeed.documents import Index, Row
from services.changefeed.equality import value_key
from services.changefeed.notices import Change
from services.changefeed.selection import Selection


class Listener(Protocol):
    """What the changes of a selection go to."""

    def push(self, row: Row, changes: list[Change]) -> None:
        """Take the changes that one commit made among the rows of the selection."""
        ...


class RowListener(Protocol):
    """What looks at every change of the table itself."""

    def take(self, row: Row) -> None:
        """Take a change of the table."""
        ...


class SharedSelection:
    """A selection and those who listen to it."""

    __slots__ = ("listeners", "selection")

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self.listeners: dict[Listener, None] = {}  # as a set that keeps its order


class _Routes:
    """The selections on the primary key or on an index."""

    __slots__ = ("_decode", "equalities", "index", "points", "ranges")

    def __init__(self, index: Index | None) -> None:
        self.index = index
        self.points: dict[bytes, dict[SharedSelection, None]] = {}
        self.equalities: dict[str, dict[Hashable, dict[SharedSelection, None]]] = {}
        """Those on ranges whose filter asks for a value, by field and value."""
        self._decode: Decode | None = None
        self.ranges: dict[SharedSelection, None] = {}

    def add(self, shared: SharedSelection) -> None:
        points = shared.selection.ranges.points
        if points is None:
            equality = shared.selection.equality
            if equality is None:
                self.ranges[shared] = None
            else:
                field, value = equality
                if field not in self.equalities:
                    self._decode = None
                self.equalities.setdefault(field, {}).setdefault(value, {})[shared] = None
            return
        for key in points:
            self.points.setdefault(key, {})[shared] = None

    def remove(self, shared: SharedSelection) -> None:
        points, equality = shared.selection.ranges.points, shared.selection.equality
        if points is not None:
            for key in points:
                _discard(self.points, key, shared)
        elif equality is not None:
            field, value = equality
            _discard(self.equalities[field], value, shared)
            if not self.equalities[field]:
                del self.equalities[field]
                self._decode = None
        else:
            del self.ranges[shared]

    def __bool__(self) -> bool:
        return bool(self.points or self.equalities or self.ranges)

    def concern(self, row: Row) -> bool:
        """Whether there may be any."""
        if self.whole:
            return True
        if self.index is None:
            if row.key in self.points or (self.spans and any(True for _ in self.spans.at(row.key))):
                return True
        elif (self.points or self.spans) and self._by_index_keys(row, self.index):
            return True
        return bool(self.equalities) and bool(self._with_equalities(row))

    def concerned(self, row: Row) -> Iterator[SharedSelection]:
        """The selections in which the document may be, or have been; each once."""
        if self.points:
            if self.index is None:
                yield from self.points.get(row.key, ())
            else:
                found: dict[SharedSelection, None] = {}
                for document in (row.old, row.new):
                    if document is not None:
                        for key in document.index_keys(self.index):
                            found.update(self.points.get(key, {}))
                yield from found
        if self.equalities:
            yield from self._with_equalities(row)
        yield from self.ranges

    def _with_equalities(self, row: Row) -> dict[SharedSelection, None]:
        if self._decode is None:
            self._decode = field_decoder(frozenset(self.equalities))
        found: dict[SharedSelection, None] = {}
        for document in row.documents:
            if document is not None:
                for field, value in document.part(self._decode).items():
                    by_value = self.equalities.get(field)
                    if by_value is not None:
                        found.update(by_value.get(value_key(value), _NOBODY))
        return found


_NOBODY: dict[SharedSelection, None] = {}


def _discard(places: dict[Any, dict[SharedSelection, None]], key: Hashable, shared: SharedSelection) -> None:
    """Take a selection from one of the places where it is looked up."""
    found = places[key]
    del found[shared]
    if not found:
        del places[key]


class Router:
    """The feeds of one table."""

    def __init__(self) -> None:
        self._shared: dict[Hashable, SharedSelection] = {}
        self._routes: dict[int | None, _Routes] = {}  # by the index's id
        self._row_listeners: dict[RowListener, None] = {}

    def selection(self, identity: Hashable) -> Selection | None:
        """The selection with that identity, if there are listeners to it."""
        shared = self._shared.get(identity)
        return None if shared is None else shared.selection

    def add(self, selection: Selection, listener: Listener) -> SharedSelection:
        """Have `listener` told of the changes of a selection."""
        shared = self._shared.get(selection.identity)
        if shared is None:
            shared = self._shared[selection.identity] = SharedSelection(selection)
            self._routes.setdefault(_index_id(selection), _Routes(selection.index)).add(shared)
        shared.listeners[listener] = None
        return shared

    def remove(self, shared: SharedSelection, listener: Listener) -> None:
        """Stop telling `listener`. Once it was removed this does nothing."""
        if shared.listeners.pop(listener, self) is self or shared.listeners:
            return
        selection = shared.selection
        del self._shared[selection.identity]
        routes = self._routes.get(_index_id(selection))
        if routes is not None:
            routes.remove(shared)
            if not routes:
                del self._routes[_index_id(selection)]

    def add_row_listener(self, listener: RowListener) -> None:
        """Have `listener` told of every change."""
        self._row_listeners[listener] = None

    def remove_row_listener(self, listener: RowListener) -> None:
        """Stop telling `listener`. Once it was removed this does nothing."""
        self._row_listeners.pop(listener, None)

    def concerns(self, row: Row) -> bool:
        """Whether there may be anybody whom a change concerns. It costs little, however many there are."""
        if self._row_listeners:
            return True
        for routes in self._routes.values():  # noqa: SIM110 - twice as fast as `any`, for every change of a table
            if routes.concern(row):
                return True
        return False

    def dispatch(self, row: Row) -> None:
        """Tell all whom it concerns of a change."""
        for routes in self._routes.values():
            for shared in routes.concerned(row):
                changes = shared.selection.changes(row)
                if changes:
                    for listener in shared.listeners:
                        listener.push(row, changes)
        for row_listener in list(self._row_listeners):
            row_listener.take(row)


def _index_id(selection: Selection) -> int | None:
    return None if selection.index is None else selection.index.id
