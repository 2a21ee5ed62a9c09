"""Rows of several scans that are each in order, put into one order. It waits for nothing and asks nobody: what has
come is added, and what may be given on is taken.
"""

from __future__ import annotations

from collections.abc import Sequence


class RowMerger:
    """The rows of so many streams, in the order of their keys. A stream's keys ascend (or descend); rows of one
    document that have the same key stay as they are."""

    def __init__(self, streams: int, descending: bool) -> None:
        self._descending = descending
        self._keys: list[Sequence[bytes]] = [()] * streams
        self._rows: list[Sequence[bytes]] = [()] * streams
        self._open = set(range(streams))

    def add(self, stream: int, keys: Sequence[bytes], rows: Sequence[bytes], last: bool) -> None:
        """The next rows of a stream, which has none left."""
        assert not self._keys[stream]
        self._keys[stream], self._rows[stream] = keys, rows
        if last:
            self._open.discard(stream)

    @property
    def wanting(self) -> list[int]:
        """The streams of which more rows must be added before any can be taken."""
        return [stream for stream in self._open if not self._keys[stream]]

    @property
    def done(self) -> bool:
        """Whether everything has come and was taken."""
        return not self._open and not any(self._keys)

    def take(self) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """The rows of which it is known that no row before them can come any more, and their keys."""
        ends = [self._keys[stream][-1] for stream in self._open]
        keys: list[bytes] = []
        rows: list[bytes] = []
        if not ends:
            for stream in range(len(self._keys)):
                keys += self._keys[stream]
                rows += self._rows[stream]
                self._keys[stream] = self._rows[stream] = ()
        else:
            end = max(ends) if self._descending else min(ends)
            for stream, of_stream in enumerate(self._keys):
                cut = self._cut(of_stream, end)
                keys += of_stream[:cut]
                rows += self._rows[stream][:cut]
                self._keys[stream], self._rows[stream] = of_stream[cut:], self._rows[stream][cut:]
        order = sorted(range(len(keys)), key=keys.__getitem__, reverse=self._descending)
        return [rows[position] for position in order], [keys[position] for position in order]

    def _cut(self, keys: Sequence[bytes], end: bytes) -> int:
        """How many of the keys do not come after `end`."""
        low, high = 0, len(keys)
        while low < high:
            middle = (low + high) // 2
            if keys[middle] < end if self._descending else keys[middle] > end:
                high = middle
            else:
                low = middle + 1
        return low
