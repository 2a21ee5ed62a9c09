"""The result cache: answers to queries with the run option `cache=True`, given again while their tables do not change.

An answer is kept with the position of every table that it was read from (the sequence numbers of their last changes)
and the version of the catalogue. Before it is given again storage is asked for both: one small call in place of the
query. So no answer is ever older than what the query would read. The user's permissions are looked at each time.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import orjson

from photondb.api.catalogue import TableInfo
from photondb.api.storage import TableGone
from photondb.api.storage_status import Positions
from photondb.reql import shape as shapes
from photondb.reql.effects import Effects
from photondb.reql.errors import ReqlError
from photondb.reql.function import Frame
from photondb.reql.names import SYSTEM_DATABASE
from photondb.reql.registry import TERMS
from photondb.reql.runtime import Runtime
from photondb.reql.shape import Shape
from photondb.reql.suspend import wait
from photondb.reql.wire import Term
from services.query.cursors import Cursor
from services.query.options import RunOptions
from services.query.plans import Plan

MAX_ENTRY_SHARE = 1 / 8
"""An answer that takes more than this share of the cache is not kept."""

ENTRY_BYTES = 500
TERM_BYTES = 200
"""What an entry takes besides its answer and the values in its query, about, and each term of the query."""


class NotCached(Exception):
    """Why an answer is not kept."""


class Answer(NamedTuple):
    """An answer: its batches, as response JSON, and the state of the tables that it is true for."""

    positions: Positions
    batches: tuple[bytes, ...]
    size: int


class ResultCache:
    """Answers by their queries, the ones that were used last; at most so many bytes of them."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        self._answers: OrderedDict[Hashable, Answer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def max_answer_bytes(self) -> int:
        """How large an answer may be to be kept."""
        return int(self.max_bytes * MAX_ENTRY_SHARE)

    def get(self, key: Hashable, positions: Positions) -> Answer | None:
        """The answer to a query, if there is one that is true for these positions."""
        answer = self._answers.get(key)
        if answer is not None and answer.positions == positions:
            self._answers.move_to_end(key)
            self.hits += 1
            return answer
        self.misses += 1
        return None

    def put(self, key: Hashable, answer: Answer) -> None:
        """Keep an answer."""
        self._drop(key)
        if answer.size > self.max_answer_bytes:
            return
        self._answers[key] = answer
        self.bytes += answer.size
        while self.bytes > self.max_bytes:
            self._drop(next(iter(self._answers)))

    def _drop(self, key: Hashable) -> None:
        dropped = self._answers.pop(key, None)
        if dropped is not None:
            self.bytes -= dropped.size


class CachedQuery:
    """One run of a query that may be answered from the cache. Raises NotCached, with the reason, for one that may not;
    then it is to be run as usual, and says itself what is wrong if something is."""

    def __init__(self, plan: Plan, frame: Frame, options: RunOptions) -> None:
        if options.transaction or options.atomic or options.as_of_us is not None:
            raise NotCached("it is part of a transaction, or reads the past")
        if options.profile or options.noreply or not options.optimizations:
            raise NotCached("another run option forbids it")
        self.plan = plan
        self.runtime: Runtime = frame[0]
        self.tables = self._find(tables_of(plan), self.runtime)
        self.key = _key(plan, frame, options)
        self._ids = [info.id for info in self.tables]

    @staticmethod
    def _find(names: tuple[tuple[str | None, str], ...], runtime: Runtime) -> list[TableInfo]:
        try:
            infos = []
            for database, name in names:
                database = runtime.options.get("db", "test") if database is None else database
                if database == SYSTEM_DATABASE:
                    raise NotCached("it reads a system table")
                infos.append(runtime.table(database, name))
                runtime.require("read", database, infos[-1])
        except ReqlError as error:
            raise NotCached(error.message) from None
        return infos

    def positions(self) -> Positions:
        """Where the tables stand now. Raises NotCached when what is known of the catalogue is out of date."""
        runtime = self.runtime
        try:
            positions = wait(runtime.storage.positions(runtime.context, self._ids))
        except TableGone:
            raise NotCached("a table was dropped") from None
        if positions.catalogue != runtime.service.catalogue.version:
            wait(runtime.service.refresh_catalogue())
            raise NotCached("the catalogue has just changed")
        return positions

    def size_of(self, batches: Sequence[bytes]) -> int:
        """About how many bytes an answer takes in the cache."""
        return ENTRY_BYTES + self.plan.weight * TERM_BYTES + len(self.key[1]) + sum(map(len, batches))


def _key(plan: Plan, frame: Frame, options: RunOptions) -> tuple[Shape, bytes]:
    constants = frame[1 : 1 + plan.constants]
    try:
        values = orjson.dumps([constants, options.language, options.batching, options.stream])
    except TypeError:
        raise NotCached("a constant has no JSON") from None
    return plan.shape, values


# --- which queries


def tables_of(plan: Plan) -> tuple[tuple[str | None, str], ...]:
    """The (database, name) of all tables that a query reads. Raises NotCached for a query whose answer depends on
    anything else than its text and these."""
    if plan.reads is None:
        try:
            plan.reads = tuple(dict.fromkeys(_tables(plan.shape)))
        except NotCached as why:
            plan.reads = str(why)
        if plan.reads == ():
            plan.reads = "it reads no table"
    if isinstance(plan.reads, str):
        raise NotCached(plan.reads)
    return plan.reads


_OF_TABLES = frozenset({Term.TABLE, Term.DB})


def _tables(shape: Shape) -> Iterator[tuple[str | None, str]]:
    tag = shape[0]
    if tag == shapes.NOW:
        raise NotCached("it asks for the time")
    if tag == shapes.OBJECT:
        for _, value in shape[1]:
            yield from _tables(value)
        return
    if tag < 0:
        return
    if tag == Term.FUNC:
        yield from _tables(shape[2])
        return
    definition = TERMS.get(tag)
    effects = Effects.NONE if definition is None else definition.effects_of(len(shape[1]))
    if effects & Effects.WRITES:
        raise NotCached("it writes")
    if tag == Term.CHANGES or effects & (Effects.NONDETERMINISTIC | Effects.ENDLESS | Effects.NOW):
        raise NotCached(f"`{Term(tag).name.lower()}` gives something else each time")
    if effects & Effects.READS and tag not in _OF_TABLES:
        raise NotCached(f"`{Term(tag).name.lower()}` reads more than documents")
    if tag == Term.TABLE:
        yield _table(shape)
        return
    for arg in shape[1]:
        yield from _tables(arg)
    for _, value in shape[2]:
        yield from _tables(value)


def _table(shape: Shape) -> tuple[str | None, str]:
    *database, name = shape[1]
    if name[0] == shapes.LITERAL and not database:
        return None, name[1]
    if name[0] == shapes.LITERAL and database[0][0] == Term.DB and database[0][1][0][0] == shapes.LITERAL:
        return database[0][1][0][1], name[1]
    raise NotCached("the name of a table is computed")


# --- answers


class ReplayedCursor(Cursor):
    """A cursor over batches that are known, and then over those of another one, if there are more."""

    def __init__(self, batches: Sequence[bytes], then: Cursor | None = None) -> None:
        self._batches = list(reversed(batches))
        self._then = then
        self.ended = False

    def next_response(self) -> bytes:
        """The next batch."""
        if self._batches:
            response = self._batches.pop()
            self.ended = not self._batches and self._then is None
            return response
        assert self._then is not None
        response = self._then.next_response()
        self.ended = self._then.ended
        return response

    def close(self) -> None:
        """Forget the rest."""
        self._batches.clear()
        if self._then is not None:
            self._then.close()


def answered(
    plan: Plan, frame: Frame, options: RunOptions, run: Callable[[], tuple[bytes, Cursor | None]]
) -> tuple[bytes, Cursor | None]:
    """The response to a query, from the cache or by `run`, and the cursor when there is more to come."""
    runtime: Runtime = frame[0]
    cache: ResultCache = runtime.service.results
    try:
        query = CachedQuery(plan, frame, options)
        before = query.positions()
    except NotCached:
        return run()
    known = cache.get(query.key, before)
    if known is not None:
        first, *others = known.batches
        return first, ReplayedCursor(others) if others else None
    first, cursor = run()
    batches = [first]
    size = len(first)
    try:
        while cursor is not None and not cursor.ended and size <= cache.max_answer_bytes:
            batches.append(cursor.next_response())
            size += len(batches[-1])
        if cursor is None or cursor.ended:
            cursor = None
            with contextlib.suppress(NotCached):
                if query.positions() == before:  # nothing has changed while it was read
                    cache.put(query.key, Answer(before, tuple(batches), query.size_of(batches)))
    except BaseException:
        if cursor is not None:
            cursor.close()
        raise
    if len(batches) == 1 and cursor is None:
        return first, None
    return first, ReplayedCursor(batches[1:], cursor) if batches[1:] else cursor


def state_of(plan: Plan, frame: Frame, options: RunOptions) -> dict[str, Any]:
    """What the cache would do with the query: for those that are explained."""
    runtime: Runtime = frame[0]
    try:
        query = CachedQuery(plan, frame, options)
        known = runtime.service.results.get(query.key, query.positions())
    except NotCached as why:
        return {"cached": False, "why": f"it cannot be: {why}"}
    if known is None:
        return {"cached": False, "why": "it has not been run since its tables changed"}
    return {"cached": True, "why": "its tables have not changed since it was run"}
