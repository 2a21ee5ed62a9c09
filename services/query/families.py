"""What kind of work a query is, for its metrics: one word of few."""

from __future__ import annotations

from collections.abc import Set
from typing import Literal

from photondb.reql.effects import Effects
from photondb.reql.wire import Term

Family = Literal["read", "write", "feed", "meta", "compute"]

_META = frozenset(
    {
        *(Term.DB_CREATE, Term.DB_DROP, Term.DB_LIST, Term.TABLE_CREATE, Term.TABLE_DROP, Term.TABLE_LIST),
        *(Term.INDEX_CREATE, Term.INDEX_DROP, Term.INDEX_LIST, Term.INDEX_RENAME, Term.INDEX_STATUS, Term.INDEX_WAIT),
        *(Term.CONFIG, Term.STATUS, Term.RECONFIGURE, Term.REBALANCE, Term.WAIT, Term.SYNC, Term.INFO, Term.GRANT),
        *(Term.SET_WRITE_HOOK, Term.GET_WRITE_HOOK),
    }
)


def family_of(tags: Set[int], effects: Effects) -> Family:
    """The family of a query with these terms and effects."""
    if Term.CHANGES in tags:
        return "feed"
    if not _META.isdisjoint(tags):
        return "meta"
    if effects & Effects.WRITES:
        return "write"
    return "read" if effects & Effects.READS else "compute"
