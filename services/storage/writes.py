"""What insert, update, replace and delete do to each document, with RethinkDB's rules, counts and texts.

An error in one document is counted and told in the summary, and does not stop the others. Nothing here waits: the
documents were read before, the changes go into a `Commit`.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any

from photondb.api.storage import Write, WriteSummary
from photondb.datum.errors import DatumError
from photondb.datum.json import dumps, loads_stored, print_datum
from photondb.datum.keys import primary_key
from photondb.datum.merge import merge
from photondb.datum.order import equal
from photondb.datum.size import check_size
from photondb.datum.time import make_time
from photondb.datum.types import normalise_number, type_name
from photondb.reql.errors import ReqlError
from photondb.reql.function import Func
from photondb.reql.uninterrupted import WORK
from services.storage.commit import Commit
from services.storage.indexes import entry_changes
from services.storage.tables import Table

DEFAULT_MAX_DOCUMENT_BYTES = 16 << 20
"""The limit of a document's JSON when nothing else is set."""

MAX_ARRAY_ELEMENTS = 100_000


Apply = Callable[["Statement", Commit, bytes, int], None]


class Statement:
    """One `Write` on its way. It is carried out some documents at a time: `prepare`, then `run`, until it is done."""

    __slots__ = (
        "_apply",
        "_keys",
        "_max_document_bytes",
        "_start",
        "documents",
        "done",
        "hard",
        "summary",
        "table",
        "write",
    )

    def __init__(self, write: Write, table: Table, max_document_bytes: int = DEFAULT_MAX_DOCUMENT_BYTES) -> None:
        self.write = write
        self.table = table
        self._max_document_bytes = max_document_bytes
        self.hard = table.hard if write.durability is None else write.durability == "hard"
        self.summary = WriteSummary(changes=[] if write.return_changes else None)
        # The plain function: a bound method would make a cycle with the statement, and each of them garbage to collect.
        self._apply: Apply = getattr(Statement, "_" + write.kind)
        self._start = 0
        """How many documents are dealt with."""
        self._keys: list[bytes | str] = []
        """Keys of the next documents; the error's text where a document has no proper key."""
        self.documents = len(write.documents if write.kind == "insert" else write.keys)
        """How many documents it is about."""
        self.done = not self.documents

    @property
    def done_documents(self) -> int:
        """How many documents are dealt with."""
        return self._start

    def prepare(self, room: int) -> list[bytes]:
        """The store keys of the next documents, at most `room` of them. They must be read into the commit for `run`."""
        write, start, prefix = self.write, self._start, self.table.document_prefix
        if write.kind != "insert":
            keys = write.keys if start == 0 and len(write.keys) <= room else write.keys[start : start + room]
            self._keys = list(keys)
            return [prefix + key for key in keys]
        self._keys = [self._key_of(document) for document in write.documents[start : start + room]]
        return [prefix + key for key in self._keys if type(key) is bytes]

    def run(self, commit: Commit) -> bool:
        """Carry out what was prepared, until the commit is full. Returns whether the statement is done."""
        position = self._start
        function = self.write.function
        calls_functions = (
            (function is not None and not function.code.constant)
            or type(self.write.conflict) is Func
            or self.table.write_hook is not None
        )
        for key in self._keys:
            if type(key) is bytes:
                try:
                    if calls_functions:
                        WORK.do(self._apply, self, commit, key, position)
                    else:
                        self._apply(self, commit, key, position)
                except (ReqlError, DatumError) as error:
                    self._fail(commit.documents[self.table.document_prefix + key], error.message)
            else:
                self._fail(None, str(key))
            position += 1
            commit.done += 1
            if commit.full:
                break
        self._start = position
        self.done = position == self.documents
        return self.done

    def _key_of(self, document: Any) -> bytes | str:
        name = self.table.primary_key
        try:
            if type(document) is not dict:
                return f"Expected type OBJECT but found {type_name(document)}."
            if name not in document:
                return _without_primary_key(name, document)
            return primary_key(document[name])
        except DatumError as error:
            return error.message

    # --- the kinds: each works out the new document and hands it to _settle

    def _insert(self, commit: Commit, key: bytes, position: int) -> None:
        document = self.write.documents[position]
        old_json = commit.documents[self.table.document_prefix + key]
        if old_json is None:
            self._settle(commit, key, None, None, document, valid=True, computed=False)
            return
        conflict = self.write.conflict
        if conflict == "ignore":
            self.summary.skipped += 1
            self._report(old_json, old_json, changed=False)
            return
        old = loads_stored(old_json)
        if conflict == "replace":
            new = document
        elif conflict == "update":
            new = merge(old, document)
        elif conflict == "error":
            raise DatumError(
                f"Duplicate primary key `{self.table.primary_key}`:\n{print_datum(old)}\n{print_datum(document)}"
            )
        else:
            # The first argument is the name of the primary key, whatever RethinkDB's manual says.
            new = conflict.call(self.table.primary_key, old, document)
        self._settle(commit, key, old_json, old, new)

    def _update(self, commit: Commit, key: bytes, _: int) -> None:
        old_json = commit.documents[self.table.document_prefix + key]
        if old_json is None:
            self._settle(commit, key, None, None, None)
            return
        old = loads_stored(old_json)
        function = self.write.function
        assert function is not None
        constant = function.code.constant
        if constant:
            patch = function.body(function.frame)
            check_size(patch)
        else:
            patch = function.call(old)
        if patch is None:
            self._settle(commit, key, old_json, old, old, valid=True)
            return
        new = merge(old, patch)
        if type(patch) is dict:
            valid = self.table.primary_key not in patch
            self._settle(commit, key, old_json, old, new, patch.keys(), valid=valid, computed=not constant)
        else:
            self._settle(commit, key, old_json, old, new)

    def _replace(self, commit: Commit, key: bytes, _: int) -> None:
        old_json = commit.documents[self.table.document_prefix + key]
        old = None if old_json is None else loads_stored(old_json)
        assert self.write.function is not None
        self._settle(commit, key, old_json, old, self.write.function.call(old))

    def _delete(self, commit: Commit, key: bytes, _: int) -> None:
        old_json = commit.documents[self.table.document_prefix + key]
        needed = old_json is not None and (self.table.indexes or self.table.write_hook)
        self._settle(commit, key, old_json, loads_stored(old_json) if needed and old_json else None, None)

    # --- what all kinds have in common

    def _settle(
        self,
        commit: Commit,
        key: bytes,
        old_json: bytes | None,
        old: Any,
        new: Any,
        touched: Set[str] | None = None,
        valid: bool = False,
        computed: bool = True,
    ) -> None:
        """Replace the document by `new` (None deletes it), and count what that was.

        `valid` says that `new` is an object with the right primary key; `touched` are the only top-level fields in
        which the two may differ; what is not `computed` is no larger than what has come from outside. Raises ReqlError
        or DatumError when the new document is refused.
        """
        table, summary = self.table, self.summary
        if table.write_hook is not None and not self.write.ignore_write_hook:
            new = self._after_hook(table.write_hook, commit, old, new)
            touched, valid, computed = None, False, True
        if new is None:
            if old_json is None:
                summary.skipped += 1
                self._report(None, None, changed=False)
                return
            new_json = None
        else:
            if not valid:
                self._check(key, old, new)
            new_json = _to_json(new, self._max_document_bytes, computed)
            if old_json is not None and (
                new_json == old_json or (len(new_json) == len(old_json) and _unchanged(old, new, touched))
            ):
                summary.unchanged += 1
                self._report(old_json, new_json, changed=False)
                return
        # Before anything is changed, because it may raise.
        entries = entry_changes(table.indexes, key, old, new, old_json, new_json, touched) if table.indexes else None
        commit.change(table, key, old_json, new_json)
        if entries is not None:
            commit.change_entries(entries)
        if new_json is None:
            summary.deleted += 1
        elif old_json is None:
            summary.inserted += 1
        else:
            summary.replaced += 1
        self._report(old_json, new_json, changed=True)

    def _check(self, key: bytes, old: Any, new: Any) -> None:
        name = self.table.primary_key
        if type(new) is not dict:
            raise DatumError(f"Inserted value must be an OBJECT (got {type_name(new)}):\n{print_datum(new)}")
        if name not in new:
            raise DatumError(_without_primary_key(name, new))
        if primary_key(new[name]) == key:
            return
        if old is None:
            raise DatumError(f"Primary key `{name}` cannot be changed (null -> {print_datum(new)})")
        raise DatumError(f"Primary key `{name}` cannot be changed (`{print_datum(old)}` -> `{print_datum(new)}`).")

    def _after_hook(self, hook: Func, commit: Commit, old: Any, new: Any) -> Any:
        name = self.table.primary_key
        document = old if new is None else new
        context = {
            "primary_key": document.get(name) if type(document) is dict else None,
            "timestamp": make_time(normalise_number(commit.time_us / 1_000_000), "+00:00"),
        }
        try:
            modified = hook.call(context, old, new)
        except (ReqlError, DatumError) as error:
            raise DatumError(f"Error in write hook: {error.message}") from None
        if new is None and modified is not None:
            raise DatumError("A write hook function must not turn a deletion into a replace/insert.")
        if new is not None and modified is None:
            raise DatumError("A write hook function must not turn a replace/insert into a deletion.")
        return modified

    def _report(self, old_json: bytes | None, new_json: bytes | None, *, changed: bool) -> None:
        changes = self.summary.changes
        if changes is not None and (changed or self.write.return_changes == "always"):
            changes.append(b'{"new_val":%b,"old_val":%b}' % (new_json or b"null", old_json or b"null"))

    def _fail(self, old_json: bytes | None, message: str) -> None:
        summary = self.summary
        summary.errors += 1
        if summary.first_error is None:
            summary.first_error = message
        if summary.changes is not None and self.write.return_changes == "always":
            old = old_json or b"null"
            summary.changes.append(b'{"error":%b,"new_val":%b,"old_val":%b}' % (dumps(message), old, old))


def _unchanged(old: Any, new: Any, touched: Set[str] | None) -> bool:
    """Whether two documents are equal; `touched` are the only fields in which they may differ."""
    if touched is None:
        return equal(old, new)
    return all(
        equal(old[name], new[name]) if name in old and name in new else (name in old) is (name in new)
        for name in touched
    )


def _to_json(document: Any, max_bytes: int, computed: bool) -> bytes:
    if computed:
        check_size(document)
    try:
        raw = dumps(document)
    except DatumError:
        raise DatumError("`r.minval` and `r.maxval` cannot be written to disk.") from None
    # An array of so many elements takes two bytes for each at least, so that smaller documents need no look.
    if len(raw) > min(2 * MAX_ARRAY_ELEMENTS, max_bytes):
        if len(raw) > max_bytes:
            raise DatumError(
                f"Document too large for disk writes (limit {max_bytes:,} bytes of JSON, got {len(raw):,})."
            )
        if _has_long_array(document):
            raise DatumError(f"Array too large for disk writes (limit {MAX_ARRAY_ELEMENTS:,} elements).")
    return raw


def _has_long_array(value: Any) -> bool:
    if type(value) is list:
        return len(value) > MAX_ARRAY_ELEMENTS or any(map(_has_long_array, value))
    return type(value) is dict and any(map(_has_long_array, value.values()))


def _without_primary_key(name: str, document: dict[str, Any]) -> str:
    return f"Inserted object must have primary key `{name}`:\n{print_datum(document)}"
