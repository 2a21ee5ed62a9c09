"""`photondb serve` in one process with something broken on purpose, to see that the checkers notice it:

python -m tests.linearizability.broken results serve ...
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from photondb.api.storage_status import Positions
from photondb.cli.command import main
from services.query.results import Answer, ResultCache
from services.storage.columns import TableColumns
from services.storage.document_cache import DocumentCache


def break_results() -> None:
    """Let the result cache give answers again though their tables have changed."""

    def get(self: ResultCache, key: Hashable, positions: Positions) -> Answer | None:
        return self._answers.get(key)

    ResultCache.get = get  # type: ignore[method-assign]


def break_documents() -> None:
    """Let the document cache miss what each fifth commit does with counters. (Were it all documents, storage would
    notice it itself, by its indexes.)"""
    note = DocumentCache.note
    commits = 0

    def note_some(self: DocumentCache, documents: Mapping[bytes, bytes | None]) -> None:
        nonlocal commits
        commits += 1
        note(self, {key: document for key, document in documents.items() if commits % 5 or b"c0" not in key})

    DocumentCache.note = note_some  # type: ignore[method-assign]


def break_columns() -> None:
    """Let columns of counters stay as they were made. (Of a table that loses documents storage notices it itself.)"""
    caught_up = TableColumns.caught_up

    async def not_caught_up(self: TableColumns, give_way: Any) -> Any:
        if self._table.info.name == "counters":
            self._changed.clear()
        return await caught_up(self, give_way)

    TableColumns.caught_up = not_caught_up  # type: ignore[method-assign]


BREAKS: Mapping[str, Callable[[], None]] = {
    "results": break_results,
    "documents": break_documents,
    "columns": break_columns,
}

if __name__ == "__main__":
    BREAKS[sys.argv.pop(1)]()
    sys.exit(main())
