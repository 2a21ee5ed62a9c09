"""The documents that a scan reads: of ranges of the primary key or of an index, a block of them at a time."""

from __future__ import annotations

from collections.abc import Sequence

from photondb.api.storage import KeyRange, Scan
from photondb.datum.order_bytes import descending as turned
from photondb.geo.cells import found_once
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.reql.measures import ScanMeasures
from services.storage.indexes import Index
from services.storage.rocks import StoreError
from services.storage.tables import Table
from services.storage.value_order import DescendingValues
from services.storage.views import Reader, ReadView

BLOCK_BYTES = 256 << 10
"""How much is read at a time: the last document makes up so many bytes, or as many rows as are asked for."""

LOOKED_UP_AT_A_TIME = 16
"""How many documents that an index leads to are read before their size is looked at."""

MAX_RANGES_PER_BLOCK = 64

MAX_SEEN_DOCUMENTS = 1_000_000
"""How many documents a scan of a geo index remembers in order not to give any of them twice."""


class ScanBlocks:
    """Reads the documents of a scan.

    `needed` are the fields of documents that are looked at (None: all), `keys_suffice` says that none are, and `bulk`
    that the cache is to be left to what others read.
    """

    __slots__ = (
        "_bulk",
        "_by_value",
        "_carried",
        "_descending",
        "_entry_places",
        "_keys_suffice",
        "_measures",
        "_prefix",
        "_primaries",
        "_primary_order",
        "_range_number",
        "_ranges",
        "_reader",
        "_repeat",
        "_seen",
        "_table",
        "_view",
        "index",
        "keys",
        "size",
        "without_documents",
    )

    def __init__(
        self,
        view: ReadView,
        table: Table,
        index: Index | None,
        scan: Scan,
        *,
        needed: frozenset[str] | None,
        keys_suffice: bool,
        bulk: bool,
        measures: ScanMeasures | None,
    ) -> None:
        self._view = view
        self._table = table
        self.index = index
        """The index that is read, None where it is the table itself."""
        self._prefix = table.document_prefix if index is None else index.prefix
        ranges: Sequence[KeyRange] = scan.ranges
        # Taken from the end.
        self._ranges: list[KeyRange] = list(ranges if scan.places_descend else reversed(ranges))
        self._range_number = -1
        self._descending = scan.descending
        self._by_value = scan.by_value
        self._primary_order = scan.primary_order
        self._reader: Reader | None = None
        self._bulk = bulk
        self._repeat = 1
        self._seen: set[bytes] | None = set() if index is not None and index.info.geo else None
        self._primaries: list[bytes] = []
        """The primary keys that the index has led to, and whose documents are still to be read: those of a whole short
        cut, in order, or of a few entries. Those to be read first stand at the end."""
        self._keys_suffice = keys_suffice
        self._carried = index is not None and not keys_suffice and index.covers(needed)
        """Whether the entries of the index carry all that is needed of the documents."""
        self._measures = measures
        self.without_documents: list[bytes] = []
        """The primary keys of documents of which only what entries carry is in the block that was read last."""
        self.keys: list[bytes] | None = [] if scan.keyed and scan.aggregate is None else None
        """The places of the documents in the block that was read last, where the rows are wanted with theirs."""
        self._entry_places: list[bytes] = []
        """The places of the documents that are still to be read, where they are others than their primary keys."""
        self.size = 0
        """The bytes of the block that was read last."""

    @property
    def exhausted(self) -> bool:
        """Whether everything was read."""
        return self._reader is None and not self._ranges and not self._primaries

    @property
    def needs_view(self) -> bool:
        """Whether there is anything to be read from the view: a range that is being read is held by its iterator."""
        return self.index is not None or bool(self._ranges) or bool(self._primaries)

    @property
    def is_whole_table(self) -> bool:
        """Whether all documents of the table are still to be read."""
        return self.index is None and self._reader is None and self._ranges == [KeyRange()]

    @property
    def found(self) -> int:
        """How many documents are to be looked up."""
        return len(self._primaries)

    def close(self) -> None:
        """Let go of the store. What is left is lost."""
        self.close_range()
        self._ranges.clear()
        self._primaries.clear()

    def close_range(self) -> None:
        """Be done with the range that is being read."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def use(self, index: Index, ranges: Sequence[KeyRange]) -> None:
        """Go on with ranges of another index."""
        self._prefix, self._ranges = index.prefix, list(reversed(ranges))

    def leave_index(self) -> None:
        """Go on with the whole table. Nothing was given to anybody yet."""
        self.close_range()
        if self._measures is not None:
            self._measures.left_index = True
        self.index = None
        self._carried = False
        self._prefix = self._table.document_prefix
        self._ranges = [KeyRange()]

    def look_up(self, primaries: set[bytes]) -> None:
        """Go on with the documents of these primary keys, in their order."""
        self._primaries = sorted(primaries, reverse=not self._descending)
        self._repeat = 1

    def reader(self) -> Reader | None:
        """What the range that is being read is read with, or the next one; None after the last."""
        return self._reader or self._next_range()

    def read(self, rows: int, max_bytes: int = BLOCK_BYTES) -> list[bytes]:
        """The next documents: as many as make a block, at most `rows`."""
        self.without_documents.clear()
        if self.keys is not None:
            self.keys = []
        documents: list[bytes] = []
        room = max_bytes
        for _ in range(MAX_RANGES_PER_BLOCK):
            wanted = rows - len(documents)
            if self._primaries:
                found = self._look_up(wanted, room)
            else:
                reader = self.reader()
                if reader is None:
                    break
                found = self._take(reader, wanted, room)
                if reader.done:
                    self.close_range()
            documents += found
            room -= sum(map(len, found))
            if len(documents) >= rows or room <= 0:
                break
        self.size = max_bytes - room
        if self._measures is not None:
            self._measures.read += len(documents)
        return documents

    def _next_range(self) -> Reader | None:
        if not self._ranges:
            return None
        wanted = self._ranges.pop()
        self._range_number += 1
        self._repeat = wanted.repeat
        if self._by_value and self._descending:
            assert self.index is not None
            low, high = self._prefix + wanted.low, self._prefix + wanted.high
            self._reader = DescendingValues(self._view, self.index, low, high)
            return self._reader
        keys_only = self._keys_suffice and self.index is None
        self._reader = self._view.read(
            self._prefix + wanted.low,
            self._prefix + wanted.high,
            descending=self._descending,
            keys_only=keys_only,
            bulk=self._bulk,
        )
        return self._reader

    def _take(self, reader: Reader, count: int, max_bytes: int) -> list[bytes]:
        index = self.index
        if index is None and self._keys_suffice:
            return self._repeated(reader.take_keys(count))
        places: list[bytes] = []
        if self._seen is None and self.keys is None:
            values = reader.take_values(count, max_bytes)
        else:
            rows = reader.take(count, max_bytes)
            if self._seen is not None:
                rows = self._not_seen(rows)
            if self.keys is not None:
                places = self._places(rows)
            values = [value for _, value in rows]
        if index is None or self._keys_suffice or self._carried:
            if self.keys is not None:
                self.keys += self._repeated(places)
            if index is None or self._keys_suffice:
                return self._repeated(values)
            self.without_documents += self._repeated(list(map(index.primary_of, values)))
            return self._repeated(list(map(index.carried_in, values)))
        primaries = list(map(index.primary_of, values)) if index.covering else values
        self._primaries, self._entry_places = primaries[::-1], places[::-1]
        return self._look_up(count, max_bytes)

    def _places(self, rows: list[tuple[bytes, bytes]]) -> list[bytes]:
        """The places of documents, or of those of entries, in the order of the scan."""
        if self.index is not None and self._primary_order:
            return [self.index.primary_of(value) for _, value in rows]
        start = len(self._prefix)
        if self._by_value:
            return self._places_by_value(rows, start)
        return [key[start:] for key, _ in rows]

    def _places_by_value(self, rows: list[tuple[bytes, bytes]], start: int) -> list[bytes]:
        """Places that ascend: the number of the range, the value (turned, where it descends), the primary key."""
        assert self.index is not None
        number = bytes((self._range_number,))
        if not self._descending:
            return [number + key[start:] for key, _ in rows]
        primaries = [self.index.primary_of(value) for _, value in rows]
        return [
            b"%b%b%b" % (number, turned(key[start : -len(primary)]), primary)
            for (key, _), primary in zip(rows, primaries, strict=True)
        ]

    def _look_up(self, count: int, max_bytes: int) -> list[bytes]:
        """The next documents of those that the index has led to."""
        found: list[bytes] = []
        primaries = self._primaries
        while primaries and len(found) < count and max_bytes > 0:
            at_a_time = min(LOOKED_UP_AT_A_TIME, count - len(found))
            some = self.documents(primaries[: -at_a_time - 1 : -1])
            if self.keys is not None:
                places = self._entry_places or primaries
                self.keys += self._repeated(places[: -at_a_time - 1 : -1])
                del self._entry_places[-at_a_time:]
            del primaries[-at_a_time:]
            max_bytes -= sum(map(len, some))
            found += some
        return self._repeated(found)

    def _repeated(self, rows: list[bytes]) -> list[bytes]:
        """Rows as often as the range that is being read asks for each."""
        return rows if self._repeat == 1 else [row for row in rows for _ in range(self._repeat)]

    def _not_seen(self, entries: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """The entries of a geo index whose documents, which may have several, are met for the first time."""
        assert self._seen is not None
        assert self.index is not None
        start = len(self._prefix)
        first_ones = []
        for key, value in entries:
            if not found_once(key, start):
                primary = self.index.primary_of(value)
                if primary in self._seen:
                    continue
                if len(self._seen) >= MAX_SEEN_DOCUMENTS:
                    raise ReqlError(
                        ErrorKind.RESOURCE_LIMIT, "Array size limit exceeded during geospatial index traversal."
                    )
                self._seen.add(primary)
            first_ones.append((key, value))
        return first_ones

    def documents(self, primaries: list[bytes]) -> list[bytes]:
        """The documents of these primary keys, which an index has. Raises StoreError."""
        prefix = self._table.document_prefix
        documents = []
        for document in self._view.documents([prefix + primary for primary in primaries]):
            if document is None:
                assert self.index is not None
                raise StoreError("corrupt", f"The index `{self.index.info.name}` has an entry without a document.")
            documents.append(document)
        return documents
