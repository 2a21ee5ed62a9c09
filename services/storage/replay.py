"""Makes a change of one document again, or undoes it, outside of the commit path: as restoring a backup does."""

from __future__ import annotations

from photondb.datum.json import loads_stored
from services.storage.rocks import Batch
from services.storage.tables import Table


def replay(batch: Batch, table: Table, key: bytes, old: bytes | None, new: bytes | None) -> None:
    """Put `new` in the place of `old`, in the documents and in all indexes; None is no document.

    The change log is left as it is. To undo a change, call it with its documents exchanged.
    """
    if new is not None:
        batch.put(table.document_prefix + key, new)
    elif old is not None:
        batch.delete(table.document_prefix + key)
    for index in table.indexes:
        stale = {} if old is None else index.entries(key, loads_stored(old), old)
        wanted = {} if new is None else index.entries(key, loads_stored(new), new)
        for entry in stale.keys() - wanted.keys():
            batch.delete(entry)
        for entry, value in wanted.items():
            if stale.get(entry) != value:
                batch.put(entry, value)
