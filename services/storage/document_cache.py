"""Documents that were read or written lately, kept in memory by their store keys.

RocksDB takes 2 to 3 us to find a document in its cache of blocks; here it is a look-up in a dictionary. What is kept is
exact: `services.storage.commit` notes every change of a document when it has been written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

FetchMany = Callable[[list[bytes]], list[bytes | None]]

OVERHEAD_BYTES = 200
"""What a document takes besides its key and its JSON: the headers of both, and its place in the dictionary."""

MAX_SHARE = 16
"""A document that would take more than one part in so many of a generation is not kept."""

FREED_AT_A_TIME = 4
"""How many documents are let go for each one that is taken in, so that freeing a generation holds up nobody."""


class DocumentCache:
    """A cache of documents in front of `fetch`, in two generations: what is used moves to the young one; when that is
    full it becomes the old one, and what nobody has used since is let go. Without `max_bytes` nothing is kept."""

    __slots__ = ("_dying", "_fetch", "_generation_bytes", "_old", "_room", "_young", "misses", "reads")

    def __init__(self, fetch: FetchMany, max_bytes: int) -> None:
        self.reads = 0
        self.misses = 0
        """How many documents were asked for, and how many of them were not here."""
        self._fetch = fetch
        # A third one may not have been freed to its end.
        self._generation_bytes = max_bytes // 3
        self._room = self._generation_bytes
        self._young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}
        self._dying: dict[bytes, bytes] = {}

    def read(self, keys: list[bytes]) -> list[bytes | None]:
        """The documents under `keys`, None where there is none. Raises what `fetch` raises."""
        self.reads += len(keys)
        try:
            return list(map(self._young.__getitem__, keys))
        except KeyError:
            return self._read_some(keys)

    def _read_some(self, keys: list[bytes]) -> list[bytes | None]:
        found: list[bytes | None] = list(map(self._young.get, keys))
        old = self._old
        missing = []
        for place, document in enumerate(found):
            if document is None:
                key = keys[place]
                found[place] = document = old.get(key)
                if document is None:
                    missing.append(place)
                else:
                    self._keep(key, document)
        if missing:
            self.misses += len(missing)
            fetched = self._fetch([keys[place] for place in missing])
            for place, document in zip(missing, fetched, strict=True):
                if document is not None:
                    found[place] = document
                    self._keep(keys[place], document)
        return found

    def note(self, documents: Mapping[bytes, bytes | None]) -> None:
        """Know how a commit has left the documents that it read or changed: None is no document any more. New ones are
        not kept before somebody reads them: to load many must not drive out what is used."""
        young, old = self._young, self._old
        longest = self._generation_bytes // MAX_SHARE - OVERHEAD_BYTES
        grown = 0
        for key, document in documents.items():
            present = young.get(key)
            if present is document:  # which nobody has changed, or nobody has read
                if document is None and key in old:
                    del old[key]
            elif present is not None and document is not None and len(document) <= longest:
                young[key] = document
                grown += len(document) - len(present)
            elif document is None:
                self._forget(key)
            elif present is not None or key in old:
                self._keep(key, document)
        self._room -= grown
        if self._room < 0:
            self._age()

    @property
    def used_bytes(self) -> int:
        """About how much memory it takes."""
        return self._generation_bytes - self._room + (self._generation_bytes if self._old else 0)

    def kept(self) -> dict[bytes, bytes]:
        """What is in memory."""
        return self._old | self._young

    def _keep(self, key: bytes, document: bytes) -> None:
        young = self._young
        present = young.get(key)
        if document is present:
            return
        size = len(document)
        if (size + OVERHEAD_BYTES) * MAX_SHARE > self._generation_bytes:
            self._forget(key)
            return
        young[key] = document
        self._room -= size - len(present) if present is not None else size + len(key) + OVERHEAD_BYTES
        dying = self._dying
        if dying:
            for _ in range(min(FREED_AT_A_TIME, len(dying))):
                dying.popitem()
        if self._room < 0:
            self._age()

    def _age(self) -> None:
        """Begin a young generation: that which is full becomes the old one."""
        self._dying, self._old, self._young = self._old, self._young, {}
        self._room = self._generation_bytes

    def _forget(self, key: bytes) -> None:
        self._young.pop(key, None)
        self._old.pop(key, None)
