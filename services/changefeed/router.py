"""Finds the feeds that a change concerns, without asking those that it does not.

Feeds on single keys and on ranges of keys, of the primary key or of an index, are looked up, and so are those with a
filter for one value of a field. Only those with other filters alone are tried one by one.
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
from services.changefeed.spans import Spans


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
    """The selections on the primary key or on an index, each in one of four places."""

    __slots__ = ("_decode", "equalities", "index", "points", "spans", "whole")

    def __init__(self, index: Index | None) -> None:
        self.index = index
        self.points: dict[bytes, dict[SharedSelection, None]] = {}
        """Those on single keys, by key."""
        self.equalities: dict[str, dict[Hashable, dict[SharedSelection, None]]] = {}
        """Those whose filter asks for a value, by field and value."""
        self.spans: Spans[SharedSelection] = Spans()
        """The others on ranges of keys."""
        self.whole: dict[SharedSelection, None] = {}
        """The others, on all keys."""
        self._decode: Decode | None = None

    def add(self, shared: SharedSelection) -> None:
        ranges, equality = shared.selection.ranges, shared.selection.equality
        if ranges.points is not None:
            for key in ranges.points:
                self.points.setdefault(key, {})[shared] = None
        elif equality is not None:
            field, value = equality
            if field not in self.equalities:
                self._decode = None
            self.equalities.setdefault(field, {}).setdefault(value, {})[shared] = None
        elif ranges.whole:
            self.whole[shared] = None
        else:
            for low, high in ranges.spans():
                self.spans.add(low, high, shared)

    def remove(self, shared: SharedSelection) -> None:
        ranges, equality = shared.selection.ranges, shared.selection.equality
        if ranges.points is not None:
            for key in ranges.points:
                _discard(self.points, key, shared)
        elif equality is not None:
            field, value = equality
            _discard(self.equalities[field], value, shared)
            if not self.equalities[field]:
                del self.equalities[field]
                self._decode = None
        elif ranges.whole:
            del self.whole[shared]
        else:
            for low, high in ranges.spans():
                self.spans.remove(low, high, shared)

    def __bool__(self) -> bool:
        return bool(self.points or self.equalities or self.spans or self.whole)

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
        if self.index is None:
            if self.points:
                yield from self.points.get(row.key, _NOBODY)
            if self.spans:
                yield from self.spans.at(row.key)
        elif self.points or self.spans:
            yield from self._by_index_keys(row, self.index)
        if self.equalities:
            yield from self._with_equalities(row)
        yield from self.whole

    def _by_index_keys(self, row: Row, index: Index) -> dict[SharedSelection, None]:
        found: dict[SharedSelection, None] = {}
        for document in row.documents:
            if document is not None:
                for key in document.index_keys(index):
                    found.update(self.points.get(key, _NOBODY))
                    found.update(dict.fromkeys(self.spans.at(key)))
        return found

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
