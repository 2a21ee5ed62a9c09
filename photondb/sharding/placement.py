"""Where documents are: on which part of a table, and so on which storage node.

A table is kept in as many parts as its `TableInfo.nodes` has entries; part i is on node `nodes[i]`. The part of a
document follows from its primary key alone, for as long as the table lives: `part_of` must never change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from zlib import crc32

from photondb.api.catalogue import Catalogue, TableInfo
from photondb.api.storage import KeyRange, TableGone
from photondb.datum.keys import after_prefix, end_of_key

HOME = 0
"""The number of the node whose catalogue is the truth."""

_MULTIPLIER = 0x9E3779B1
"""2**32 divided by the golden ratio. It carries every bit of the checksum to the upper ones, which choose the part; the
checksum alone is linear, so that keys which differ in a few bits only could all be on few parts."""


def part_of(key: bytes, parts: int) -> int:
    """The part, of so many, that a document with this encoded primary key belongs to."""
    return (crc32(key) * _MULTIPLIER & 0xFFFFFFFF) * parts >> 32


def nodes_for_shards(catalogue: Catalogue, info: TableInfo, shards: int) -> tuple[int, ...]:
    """The nodes that a table is to be on, part by part, when it is divided into so many shards: those that it is on
    where these are as many; else that of its database for one, and for several as many different ones as it has shards
    and there are nodes: those that it is on already, then those with the fewest parts of tables, from the database's
    node on."""
    usable = catalogue.usable_nodes
    if len(info.nodes) == min(shards, len(usable)) and set(info.nodes) <= set(usable):
        return info.nodes
    home = catalogue.databases[info.database].node
    if shards == 1:
        return (home,)
    parts = Counter(node for other in catalogue.all_tables for node in other.nodes)
    best = sorted(
        usable, key=lambda node: (node not in info.nodes, parts[node], (node - home) % len(catalogue.nodes or (0,)))
    )
    return tuple(sorted(best[:shards]))


class Placement:
    """Which tables there are, and where. It knows what it was taught last: ids of tables are never used again, and
    where the table with an id is does not change. One that was divided anew has another id since."""

    def __init__(self) -> None:
        self.catalogue = Catalogue(version=-1, databases={}, tables={})
        self._tables: dict[int, TableInfo] = {}
        self.moved: dict[int, int] = {}
        """By ids that tables had before they were divided anew, those that they have now."""

    def learn(self, catalogue: Catalogue) -> None:
        """Take over a catalogue, unless a newer one is known."""
        if catalogue.version >= self.catalogue.version:
            self.catalogue = catalogue
            self._tables = {info.id: info for info in catalogue.all_tables}
            for info in catalogue.tables.values():
                for ended in info.ended:
                    self._tables[ended.table] = info
                    self.moved[ended.table] = info.id

    def present(self, table: int) -> int:
        """The id that a table has now."""
        return self.moved.get(table, table)

    def knows(self, table: int) -> bool:
        """Whether the table is in the catalogue."""
        return table in self._tables

    def info(self, table: int) -> TableInfo:
        """The table that has, or had, that id. Raises TableGone."""
        try:
            return self._tables[table]
        except KeyError:
            raise TableGone from None

    def node_of(self, table: int, key: bytes) -> int:
        """The node that a document is on. Raises TableGone."""
        try:
            nodes = self._tables[table].nodes
        except KeyError:
            raise TableGone from None
        return nodes[0] if len(nodes) == 1 else nodes[part_of(key, len(nodes))]

    def divide(self, keys: Sequence[tuple[int, bytes]]) -> dict[int, list[int]]:
        """By node, the positions of the documents (table, key) that are on it. Raises TableGone."""
        divided: dict[int, list[int]] = {}
        for position, (table, key) in enumerate(keys):
            node = self.node_of(table, key)
            positions = divided.get(node)
            if positions is None:
                divided[node] = [position]
            else:
                positions.append(position)
        return divided


def is_single_key(wanted: KeyRange) -> bool:
    """Whether a range of primary keys can hold one key only."""
    low = wanted.low
    if not low or wanted.high != after_prefix(low):
        return False
    try:
        return end_of_key(low) == len(low)
    except (IndexError, ValueError):  # a bound that is no key itself
        return False


def ranges_of_parts(ranges: Sequence[KeyRange], parts: int) -> dict[int, list[KeyRange]]:
    """By part, which of the ranges of primary keys it may have documents of: single keys belong to one part."""
    divided: dict[int, list[KeyRange]] = {}
    for wanted in ranges:
        for part in (part_of(wanted.low, parts),) if is_single_key(wanted) else range(parts):
            divided.setdefault(part, []).append(wanted)
    return divided


def in_order(ranges: Sequence[KeyRange]) -> list[KeyRange] | None:
    """The ranges in the order of their keys, so that rows of several scans of them can be merged by key; None where
    they overlap."""
    ordered = sorted((wanted for wanted in ranges if wanted.low < wanted.high), key=lambda wanted: wanted.low)
    for one, next_one in pairwise(ordered):
        if next_one.low < one.high:
            return None
    return ordered
