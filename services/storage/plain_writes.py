"""Writes that most are: the insert of one document, and the update of one by a patch of plain values.

They do the same as a `Statement`, with nothing of what functions, many documents or nested patches need; and where
anything is out of the ordinary (the key is taken, the document is too long, there is an error) a `Statement` does it.
"""

from __future__ import annotations

from typing import Any

from photondb.api.storage import Write, WriteSummary
from photondb.datum.errors import DatumError
from photondb.datum.json import dumps, loads_stored
from photondb.datum.keys import primary_key
from services.storage.commit import Commit
from services.storage.indexes import entry_changes
from services.storage.splicing import with_fields
from services.storage.tables import Table
from services.storage.writes import MAX_ARRAY_ELEMENTS, Statement

_PLAIN = frozenset({str, int, float, bool, type(None)})


def begin(write: Write, table: Table, max_document_bytes: int) -> Statement | PlainWrite:
    """A statement, ready to be carried out."""
    if table.write_hook is None and not write.return_changes:
        if write.kind == "update" and len(write.keys) == 1:
            function = write.function
            assert function is not None
            if function.code.constant:
                patch = function.body(function.frame)
                if (
                    type(patch) is dict
                    and table.primary_key not in patch
                    and _PLAIN.issuperset(map(type, patch.values()))
                ):
                    return PlainUpdate(write, table, write.keys[0], max_document_bytes, patch)
        elif write.kind == "insert" and len(write.documents) == 1:
            document = write.documents[0]
            if type(document) is dict:
                try:
                    key = primary_key(document.get(table.primary_key))
                except DatumError:  # the statement says what is wrong with it
                    return Statement(write, table, max_document_bytes)
                return PlainInsert(write, table, key, max_document_bytes)
    return Statement(write, table, max_document_bytes)


class PlainWrite:
    """A statement on its way that is about one document; to be used like a `Statement`."""

    __slots__ = ("_key", "_max_document_bytes", "done", "hard", "summary", "table", "write")

    documents = 1
    done_documents = 0

    def __init__(self, write: Write, table: Table, key: bytes, max_document_bytes: int) -> None:
        self.write = write
        self.table = table
        self.hard = table.hard if write.durability is None else write.durability == "hard"
        self.summary = WriteSummary()
        self.done = False
        self._key = key
        self._max_document_bytes = max_document_bytes

    def prepare(self, room: int) -> list[bytes]:
        """The store key of the document. It must be read into the commit for `run`."""
        return [self.table.document_prefix + self._key]

    def run(self, commit: Commit) -> bool:
        """Carry it out. Returns whether the statement is done, which it is."""
        if not self._change(commit, commit.documents[self.table.document_prefix + self._key]):
            self._run_in_full(commit)
        commit.done += 1
        self.done = True
        return True

    def _change(self, commit: Commit, old_json: bytes | None) -> bool:
        """Change the document; False where that is not as simple as it mostly is."""
        raise NotImplementedError

    def _run_in_full(self, commit: Commit) -> None:
        statement = Statement(self.write, self.table, self._max_document_bytes)
        statement.summary = self.summary
        statement.prepare(1)
        statement.run(commit)

    def _fits(self, raw: bytes) -> bool:
        """Whether a document is short enough for nobody to look at it more closely."""
        return len(raw) <= min(2 * MAX_ARRAY_ELEMENTS, self._max_document_bytes)


class PlainInsert(PlainWrite):
    """An insert of one document."""

    __slots__ = ()

    def _change(self, commit: Commit, old_json: bytes | None) -> bool:
        if old_json is not None:
            return False
        table, key, document = self.table, self._key, self.write.documents[0]
        try:
            raw = dumps(document)
            if not self._fits(raw):
                return False
            entries = entry_changes(table.indexes, key, None, document, None, raw) if table.indexes else None
        except DatumError:
            return False
        commit.change(table, key, None, raw)
        if entries is not None:
            commit.change_entries(entries)
        self.summary.inserted = 1
        return True


class PlainUpdate(PlainWrite):
    """An update of one document that sets top-level fields to values that are no objects or arrays."""

    __slots__ = ("_patch",)

    def __init__(self, write: Write, table: Table, key: bytes, max_document_bytes: int, patch: dict[str, Any]) -> None:
        super().__init__(write, table, key, max_document_bytes)
        self._patch = patch

    def _change(self, commit: Commit, old_json: bytes | None) -> bool:
        if old_json is None:
            self.summary.skipped = 1
            return True
        table, key, patch = self.table, self._key, self._patch
        touched = [index for index in table.indexes if index.fields is None or not index.fields.isdisjoint(patch)]
        old = new = None
        raw = None if touched else with_fields(old_json, patch)
        if raw is None:
            old = loads_stored(old_json)
            new = old | patch
            raw = dumps(new)
        if raw == old_json:  # plain values that are equal have the same JSON
            self.summary.unchanged = 1
            return True
        if not self._fits(raw):
            return False
        if touched:
            try:
                entries = entry_changes(touched, key, old, new, old_json, raw, patch.keys())
            except DatumError:
                return False
            commit.change_entries(entries)
        commit.change(table, key, old_json, raw)
        self.summary.replaced = 1
        return True
