"""What a term does besides computing a value, added up over its whole tree by the compiler."""

from __future__ import annotations

import enum


class Effects(enum.IntFlag):
    """The effects of evaluating a term."""

    NONE = 0
    NOW = 1  # uses the time at which the query began: constant within a query
    NONDETERMINISTIC = 2  # random numbers, JavaScript, HTTP: another call may give another value
    READS = 4  # reads tables or the catalogue
    WRITES = 8  # writes documents or changes the catalogue
    ENDLESS = 16  # may go on without end, so that only a query's time limit can stop it
    ROUNDED = 32  # geometry: another machine, or another release, may round otherwise

    @property
    def deterministic(self) -> bool:
        """Whether evaluating twice in one query gives the same value. RethinkDB counts reads as not deterministic."""
        return not self & (Effects.NONDETERMINISTIC | Effects.READS | Effects.WRITES)

    @property
    def lasting(self) -> bool:
        """Whether evaluating it anywhere, today or in a year, gives the same value."""
        return self.deterministic and not self & (Effects.NOW | Effects.ROUNDED)

    @property
    def pushable(self) -> bool:
        """Whether storage may evaluate it: the value depends on the arguments alone, and is there after a while."""
        return self.deterministic and not self & Effects.ENDLESS
