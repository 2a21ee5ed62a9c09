"""What it costs to read documents, in microseconds of a usual machine. Only the proportions matter."""

from __future__ import annotations

START = 20.0
"""A scan at all."""

READ_IN_ORDER = 1.0
"""A document that is read with its neighbours, and looked at by a filter."""

RANGE = 15.0
"""A range of an index."""

ENTRY = 0.5
"""An entry of an index, gathered and put in order."""

LOOK_UP = 3.0
"""A document that is looked up by its key, and looked at by a filter."""

JUMP = 300.0
"""To go to the next value of an index: a scan of its own, which may be a call of another process."""

TAKE = 3.0
"""A document that comes to the query service and is taken apart there."""

KEEP = 0.5
"""A document that is put into a hash table."""


CARRIED = 0.6
"""What an entry of a covering index carries, read with its neighbours."""

SORT = 2.0
"""A document that is put in order in the query service, and written again."""

TURN = 5.0
"""An entry of an index that is read backwards, of which those of one value are turned around again. Measured against
`SORT`: to sort all documents takes no longer."""

GEOMETRY = 10.0
"""To compare the shape of a document with another one."""

PLANNING = 100.0
"""What takes less is not worth looking for another way."""


def of_table(rows: float, matching: float, limit: int | None) -> float:
    """To read a table of `rows` documents, or as far as it takes for `limit` of the `matching` ones."""
    share = 1.0 if limit is None or matching <= limit else limit / matching
    return START + rows * share * READ_IN_ORDER


def of_index(ranges: int, matching: float, limit: int | None, in_order: bool) -> float:
    """To read the `matching` documents that an index leads to, or `limit` of them. Unless they are found `in_order`
    all entries are gathered first."""
    wanted = matching if limit is None else min(matching, limit)
    return START + ranges * RANGE + (wanted if in_order else matching) * ENTRY + wanted * LOOK_UP


def of_several(ranges: int, entries: float, matching: float, limit: int | None) -> float:
    """To read the `matching` documents that several indexes with so many `entries` lead to together."""
    wanted = matching if limit is None else min(matching, limit)
    return START + ranges * RANGE + entries * ENTRY + wanted * LOOK_UP


def of_index_order(rows: float, carried: bool, descending: bool) -> float:
    """To read so many documents in the order of an index, which may carry all that is wanted of them."""
    return START + RANGE + rows * (ENTRY + (CARRIED if carried else LOOK_UP) + (TURN if descending else 0.0))
