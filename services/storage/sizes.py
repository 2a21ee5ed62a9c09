"""How much of the table files on the disk is whose: of the documents, the indexes and the change log of each table.

Files hold ranges of keys, and most of those are of one kind and table. Where a file has several, its blocks tell them
apart (`services.storage.table_file`), to within a block for each. Files never change, so each is looked into once.
"""

from __future__ import annotations

from pathlib import Path
from threading import Lock

from photondb.api.storage_status import TableSizes
from services.storage import layout
from services.storage.rocks import Store
from services.storage.table_file import TableFileDamaged, read_blocks

Spaces = dict[bytes, int]
"""Bytes by key space, which is named by what all of its keys start with."""


class DiskSizes:
    """The sizes in a store. It may be asked in several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._mixed: dict[str, Spaces] = {}
        """What is in the files that have several key spaces."""
        self._lock = Lock()

    def tables(self) -> dict[int, TableSizes]:
        """The sizes of each table, by its id. What was written lately, and is not in a file yet, does not count. Takes
        up to a second for a large store: call it in a thread. Raises StoreError."""
        with self._lock:
            total: Spaces = {}
            mixed = {}
            for name, size, first, last in self._store.table_files():
                space = _space(first)
                if space == _space(last):
                    spaces = {space: size}
                else:
                    spaces = mixed[name] = self._mixed.get(name) or _spaces_in(self._store.path / name, size, space)
                for space, part in spaces.items():
                    total[space] = total.get(space, 0) + part
            self._mixed = mixed
        found: dict[int, TableSizes] = {}
        for space, size in total.items():
            if space[:1] in (b"d", b"l", b"i"):
                sizes = found.setdefault(layout.table_of(space), TableSizes())
                if space[:1] == b"d":
                    sizes.documents += size
                elif space[:1] == b"l":
                    sizes.change_log += size
                else:
                    sizes.indexes[int.from_bytes(space[5:9], "big")] = size
        return found


def _space(key: bytes) -> bytes:
    """The key space of a key: a kind and a table, for entries an index, too."""
    return key[:9] if key[:1] == b"i" else key[:5]


def _spaces_in(path: Path, size: int, first: bytes) -> Spaces:
    """How the size of a file is divided. All of it counts as its `first` key space's where it cannot be read, as when
    it was compacted away just now."""
    try:
        blocks = read_blocks(path)
    except TableFileDamaged:
        return {first: size}
    spaces: Spaces = {}
    for block in blocks:
        space = _space(block.last)
        spaces[space] = spaces.get(space, 0) + block.size
    # What a file has besides its blocks is about them.
    scale = size / max(1, sum(spaces.values()))
    return {space: int(part * scale) for space, part in spaces.items()}
