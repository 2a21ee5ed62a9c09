"""The past of a table, exactly as it was after all commits up to a point in time.

The change log holds each document as it was before each change. So a document of the past is the `old` of the first
change after that point, or the present one when there was none. What has changed since is laid over a view of the
present; it costs as much as there are changes since then.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from time import perf_counter

from photondb.datum.json import loads_stored
from photondb.reql.errors import ReqlError, op_failed, resource_limit
from services.storage import layout
from services.storage.indexes import Index
from services.storage.log import decode_position, decode_record, first_after
from services.storage.overlay import FrozenOverlay, MergedReader, Overlay
from services.storage.rocks import Store
from services.storage.tables import Table
from services.storage.views import Reader, View

MAX_CHANGED_BYTES = 256 << 20
"""How much may have changed since the time that a query reads as of."""

SLICE_S = 0.002
"""How long the log is read before others get their turn."""


class PastView:
    """A `ReadView` of one table, and of one of its indexes, in the past. It must be closed."""

    def __init__(self, view: View, overlay: FrozenOverlay, rows: int) -> None:
        self._view = view
        self._overlay = overlay
        self._rows = rows

    @classmethod
    async def open(cls, store: Store, table: Table, index: Index | None, as_of_us: int) -> PastView:
        """The table as it was at `as_of_us`. Raises ReqlError when its history does not go back that far."""
        view = View(store)
        view.pin()
        try:
            first = _first_change(store, table, as_of_us)
            rows = _rows_then(store, table, first)
            overlay = await _changed_since(view, table, first)
            documents = list(overlay.values.items())
            if index is not None:
                await _change_entries(view, overlay, documents, table, index)
        except BaseException:
            view.close()
            raise
        return cls(view, overlay.frozen(), rows)

    @classmethod
    async def after(cls, store: Store, table: Table, sequence: int) -> PastView:
        """The documents of a table after one of its changes. Only good as long as nothing is written. Raises ReqlError
        when too much has changed since."""
        view = View(store)
        return cls(view, (await _changed_since(view, table, sequence + 1)).frozen(), 0)

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
        changed = (await _changed_since(view, table, first, frozenset(keys))).values
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


async def _changed_since(view: View, table: Table, first: int, only: frozenset[bytes] | None = None) -> Overlay:
    """The documents of the changes from `first` on (of those under the store keys `only`), as they were before."""
    overlay = Overlay()
    low, high = layout.record_key(table.id, layout.SHARD, first), layout.end_of(table.log_prefix)
    size = 0
    slice_end = perf_counter() + SLICE_S
    reader = view.read(low, high)
    while not reader.done:
        for key, value in reader.take(100):
            record = decode_record(key, value)
            store_key = table.document_prefix + record.key
            if store_key in overlay.values or (only is not None and store_key not in only):
                continue
            overlay.put(store_key, record.old)
            size += len(store_key) + len(record.old or b"")
        if size > MAX_CHANGED_BYTES:
            raise resource_limit(
                f"More than {MAX_CHANGED_BYTES >> 20} MB of documents have changed since the time of `as_of`: choose a "
                "later one."
            )
        if perf_counter() > slice_end:
            await asyncio.sleep(0)
            slice_end = perf_counter() + SLICE_S
    return overlay


async def _change_entries(
    view: View, overlay: Overlay, documents: list[tuple[bytes, bytes | None]], table: Table, index: Index
) -> None:
    """Lay the index's entries of the changed documents over those of the present."""
    start = len(table.document_prefix)
    slice_end = perf_counter() + SLICE_S
    for store_key, old in documents:
        primary = store_key[start:]
        (present,) = view.documents([store_key])
        now = {} if present is None else index.entries(primary, loads_stored(present), present)
        then = {} if old is None else index.entries(primary, loads_stored(old), old)
        for entry in now.keys() - then.keys():
            overlay.put(entry, None)
        for entry, value in then.items():
            if now.get(entry) != value:
                overlay.put(entry, value)
        if perf_counter() > slice_end:
            await asyncio.sleep(0)
            slice_end = perf_counter() + SLICE_S


def _shown(time_us: int) -> str:
    try:
        return datetime.fromtimestamp(time_us / 1_000_000, UTC).isoformat()
    except (ValueError, OverflowError):
        return f"{time_us / 1_000_000} seconds since 1970"
