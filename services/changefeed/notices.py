"""Changes as feeds hand them on: the object that tells of one is made once, however many feeds show it."""

from __future__ import annotations

from photondb.reql.feed_notices import change_notice


class Change:
    """A row's change: before and after as JSON, None where it is not among the rows.

    `copy` tells apart the rows of one document where a feed has it several times. `shard` and `sequence` name the
    record of the log; `seen` says, where that is several changes and this is not the last, how many are told with it.
    """

    __slots__ = ("_plain", "_typed", "copy", "key", "new", "old", "seen", "sequence", "shard")

    def __init__(
        self,
        key: bytes,
        copy: int,
        old: bytes | None,
        new: bytes | None,
        shard: int = 0,
        sequence: int = 0,
        seen: int = 0,
    ) -> None:
        self.shard = shard
        self.sequence = sequence
        self.seen = seen
        self.key = key
        self.copy = copy
        self.old = old
        self.new = new
        self._plain: bytes | None = None
        self._typed: bytes | None = None

    def notice(self, include_types: bool) -> bytes:
        """The object that tells of it."""
        if include_types:
            if self._typed is None:
                self._typed = change_notice(self.old, self.new, True)
            return self._typed
        if self._plain is None:
            self._plain = change_notice(self.old, self.new, False)
        return self._plain
