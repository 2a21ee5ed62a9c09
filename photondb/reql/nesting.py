"""Where terms that write may stand: not within what is done for each row of a sequence.

The rule is RethinkDB's (its `term_walker.cc`): what is below a term on rows, except in its first argument, may not
write; `for_each` is the one for that.
"""

from __future__ import annotations

from photondb.reql import shape as shapes
from photondb.reql.errors import CompileError, Frames
from photondb.reql.shape import Shape
from photondb.reql.wire import Term

_WRITES = frozenset(
    {
        *(Term.INSERT, Term.UPDATE, Term.REPLACE, Term.DELETE, Term.SYNC, Term.GRANT),
        *(Term.DB_CREATE, Term.DB_DROP, Term.TABLE_CREATE, Term.TABLE_DROP),
        *(Term.INDEX_CREATE, Term.INDEX_DROP, Term.INDEX_RENAME, Term.INDEX_WAIT),
        *(Term.WAIT, Term.RECONFIGURE, Term.REBALANCE, Term.SET_WRITE_HOOK, Term.GET_WRITE_HOOK),
    }
)
_FORBID_WRITES = frozenset(
    {
        *(Term.MAP, Term.CONCAT_MAP, Term.FILTER, Term.REDUCE, Term.FOLD, Term.GROUP),
        *(Term.COUNT, Term.SUM, Term.AVG, Term.MIN, Term.MAX),
        *(Term.INNER_JOIN, Term.OUTER_JOIN, Term.EQ_JOIN),
        *(Term.INSERT, Term.UPDATE, Term.REPLACE, Term.DELETE),
    }
)


def check_nesting(shape: Shape, path: Frames = (), may_write: bool = True) -> None:
    """Raise CompileError for a term that writes where none may."""
    tag = shape[0]
    if tag == shapes.OBJECT:
        for name, value in shape[1]:
            check_nesting(value, (*path, name), may_write)
    elif tag == Term.FUNC:
        check_nesting(shape[2], (*path, 1), may_write)
    elif tag > 0:
        if tag in _WRITES and not may_write:
            raise CompileError("Cannot nest writes or meta ops in stream operations.  Use FOR_EACH instead.", path)
        below = may_write and tag not in _FORBID_WRITES
        for position, arg in enumerate(shape[1]):
            check_nesting(arg, (*path, position), may_write if position == 0 else below)
        for name, value in shape[2]:
            check_nesting(value, (*path, name), below)
