"""What one part of a query (a sort, a group) works in: some memory, a place on the disk, and turns."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakSet

from photondb.reql.memory import MemoryUse
from photondb.reql.spilling.space import SpillFile, SpillSpace


class Workspace:
    """Memory of at most `most` bytes, and files. What it holds is given back by `close`, or when it is dropped.
    `checkpoint` is to be called in loops, for so many rows."""

    def __init__(self, memory: MemoryUse, space: SpillSpace, checkpoint: Callable[[int], None]) -> None:
        self.checkpoint = checkpoint
        self.most = memory.budget.part_bytes
        self.held = 0
        self._memory = memory
        self._space = space
        self._files: WeakSet[SpillFile] = WeakSet()

    def hold(self, size: int) -> bool:
        """Note that so many bytes are held now. Returns whether that may be; if not, they are to be put aside."""
        grown, self.held = size - self.held, size
        return self._memory.hold(grown) and size <= self.most

    def require(self, size: int) -> None:
        """The same for what cannot be put aside. Raises when there is no room for it."""
        grown, self.held = size - self.held, size
        self._memory.require(grown)

    def open_file(self) -> SpillFile:
        """A new file."""
        file = self._space.open()
        self._files.add(file)
        return file

    def note_spilled(self, size: int) -> None:
        """Note that so many bytes were written."""
        self._memory.spilled_bytes += size

    def close(self) -> None:
        """Give up everything, the files too."""
        self.hold(0)
        for file in list(self._files):
            file.close()

    def __del__(self) -> None:
        self.hold(0)
