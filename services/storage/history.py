"""The past of a table, exactly as it was after all commits up to a point in time.

The change log holds each document as it was before each change. So a document of the past is the `old` of the first
change after that point, or the present one when there was none. What has changed since is laid over a view of the
present; it costs as much as there are changes since then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from time import perf_counter

from photondb.datum.json import loads_stored
from photondb.reql.errors import ReqlError, op_failed, resource_limit
from services.storage import layout
from services.storage.indexes import Index
from services.storage.log import decode_position, decode_record, first_after
from services.storage.overlay import FrozenOverlay, MergedReader, sorting
from services.storage.rocks import Store
from services.storage.tables import Table
from services.storage.views import Reader, View

MAX_CHANGED_BYTES = 256 << 20
"""How much memory may be taken by what has changed since the time that a query reads as of ..."""

MAX_KEPT_BYTES = 32 << 20
"""... of which so much is for documents as they were. Of all further ones only the place in the log is remembered."""

READ_BYTES = 1 << 20
"""How much of the log is read at a time."""

BYTES_PER_CHANGE = 180
"""What a changed document takes besides its key, and besides itself where it is kept."""

SLICE_S = 0.002
"""How long the log is read before others get their turn."""


class PastValues(Mapping[bytes, bytes | None]):
    """What store keys had as values, None for those that were not there. Where a number stands instead of a document it
    is that of its record in the change log, from which it is read when it is asked for."""

    __slots__ = ("_table", "_view", "found")

    def __init__(self, view: View, table: Table) -> None:
        self._view = view
        self._table = table
        self.found: dict[bytes, bytes | int | None] = {}

    def __getitem__(self, key: bytes) -> bytes | None:
        value = self.found[key]
        if type(value) is not int:
            return value  # type: ignore[return-value]
        place = layout.record_key(self._table.id, layout.SHARD, value)
        (record,) = self._view.get_many([place])
        assert record is not None, "the log has a hole"
        return decode_record(place, record).old

    def __contains__(self, key: object) -> bool:
        return key in self.found

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)


async def _frozen(values: PastValues) -> FrozenOverlay:
    """The overlay of some values."""
    keys = list(values)
    slice_end = perf_counter() + SLICE_S
    for _ in sorting(keys):
        if perf_counter() > slice_end:
            await asyncio.sleep(0)
            slice_end = perf_counter() + SLICE_S
    return FrozenOverlay(keys, values)


class PastView:
    """A `ReadView` of one table, and of some of its indexes, in the past. It must be closed."""

    def __init__(self, view: View, overlay: FrozenOverlay, rows: int) -> None:
        self._view = view
        self._overlay = overlay
        self._rows = rows

    @classmethod
    async def open(cls, store: Store, table: Table, indexes: Sequence[Index], as_of_us: int) -> PastView:
        """The table as it was at `as_of_us`. Raises ReqlError when its history does not go back that far."""
        view = View(store)
        view.pin()
        try:
            first = _first_change(store, table, as_of_us)
            rows = _rows_then(store, table, first)
            values = await _changed_since(view, table, first)
            changed = list(values)
            for index in indexes:
                await _change_entries(view, values, changed, table, index)
            overlay = await _frozen(values)
        except BaseException:
            view.close()
            raise
        return cls(view, overlay, rows)

    @classmethod
    async def after(cls, store: Store, table: Table, sequence: int) -> PastView:
        """The documents of a table after one of its changes. Only good as long as nothing is written. Raises ReqlError
        when too much has changed since."""
        view = View(store)
        return cls(view, await _frozen(await _changed_since(view, table, sequence + 1)), 0)

    def pin(self) -> None:
        """It lasts as long as it has to from the beginning."""

    def close(self) -> None:
        self._view.close()

    def read(
        self, low: bytes, high: bytes, *, descending: bool = False, keys_only: bool = False, bulk: bool = False
    ) -> Reader:
        base = self._view.read(low, high, descending=descending, bulk=bulk)
        return MergedReader(base, self._overlay, low, high, descending)

    def documents(self, keys: list[bytes]) -> list[bytes | None]:
        values = self._overlay.values
        missing = [key for key in keys if key not in values]
        found = dict(zip(missing, self._view.documents(missing), strict=True)) if missing else {}
        return [values[key] if key in values else found[key] for key in keys]

    def rows_of(self, table: Table) -> int:
        return self._rows


async def documents_then(store: Store, table: Table, keys: list[bytes], as_of_us: int) -> list[bytes | None]:
    """The documents under store keys as they were at `as_of_us`. Raises ReqlError."""
    view = View(store)
    view.pin()
    try:
        first = _first_change(store, table, as_of_us)
        changed = await _changed_since(view, table, first, frozenset(keys))
        present = dict(zip(keys, view.documents(keys), strict=True))
        return [changed[key] if key in changed else present[key] for key in keys]
    finally:
        view.close()


def _first_change(store: Store, table: Table, as_of_us: int) -> int:
    """The sequence number of the first change after `as_of_us`; beyond the last one when there is none.

    Raises ReqlError unless the log is sure to have all changes from there on.
    """
    name = f"{table.info.database}.{table.info.name}"
    history_s = table.info.settings.history_s
    if history_s is None:
        raise op_failed(
            f"Table `{name}` keeps no history: set it, for instance with `config().update({{history: '7d'}})`."
        )
    now_us = time.time_ns() // 1000
    if as_of_us > now_us:
        raise op_failed(f"The time of `as_of`, {_shown(as_of_us)}, has not come yet.")
    if as_of_us < now_us - history_s * 1_000_000:
        raise _too_old(name, as_of_us)
    first = first_after(store, table.id, table.oldest, table.position, as_of_us)
    if first == table.oldest > 1:  # earlier changes, which are gone, may have come after that time
        raise _too_old(name, as_of_us)
    ended = table.info.ended
    if ended and (as_of_us < ended[-1].at_us or first <= table.info.log_start(table.shard)):
        raise _too_old(name, as_of_us)  # these parts of the table have been there since then
    return first


def _too_old(name: str, as_of_us: int) -> ReqlError:
    return op_failed(f"The history of table `{name}` does not go back to {_shown(as_of_us)}.")


def _rows_then(store: Store, table: Table, first: int) -> int:
    if first > table.position.sequence:
        return table.position.rows
    if first == 1:
        return 0
    record = store.get(layout.record_key(table.id, layout.SHARD, first - 1))
    assert record is not None, "the log has a hole"
    return decode_position(first - 1, record).rows


async def _changed_since(view: View, table: Table, first: int, only: frozenset[bytes] | None = None) -> PastValues:
    """The documents of the changes from `first` on (of those under the store keys `only`), as they were before."""
    values = PastValues(view, table)
    found = values.found
    low, high = layout.record_key(table.id, layout.SHARD, first), layout.end_of(table.log_prefix)
    size = kept = 0
    slice_end = perf_counter() + SLICE_S
    reader = view.read(low, high)
    while not reader.done:
        for key, value in reader.take(100, READ_BYTES):
            record = decode_record(key, value)
            store_key = table.document_prefix + record.key
            if store_key in found or (only is not None and store_key not in only):
                continue
            size += len(store_key) + BYTES_PER_CHANGE
            if record.old is None or kept + len(record.old) <= MAX_KEPT_BYTES:
                found[store_key] = record.old
                kept += len(record.old or b"")
            else:
                found[store_key] = record.sequence
        if size + kept > MAX_CHANGED_BYTES:
            raise resource_limit(
                f"Too many documents have changed since the time of `as_of` to remember which they are (more than "
                f"{len(found) - 1:,}, in {MAX_CHANGED_BYTES >> 20} MB): choose a later one."
            )
        if perf_counter() > slice_end:
            await asyncio.sleep(0)
            slice_end = perf_counter() + SLICE_S
    return values


async def _change_entries(view: View, values: PastValues, changed: list[bytes], table: Table, index: Index) -> None:
    """Lay the index's entries of the changed documents over those of the present."""
    start = len(table.document_prefix)
    slice_end = perf_counter() + SLICE_S
    found = values.found
    for store_key in changed:
        old = values[store_key]
        primary = store_key[start:]
        (present,) = view.documents([store_key])
        now = {} if present is None else index.entries(primary, loads_stored(present), present)
        then = {} if old is None else index.entries(primary, loads_stored(old), old)
        for entry in now.keys() - then.keys():
            found[entry] = None
        for entry, value in then.items():
            if now.get(entry) != value:
                found[entry] = value
        if perf_counter() > slice_end:
            await asyncio.sleep(0)
            slice_end = perf_counter() + SLICE_S


def _shown(time_us: int) -> str:
    try:
        return datetime.fromtimestamp(time_us / 1_000_000, UTC).isoformat()
    except (ValueError, OverflowError):
        return f"{time_us / 1_000_000} seconds since 1970"
