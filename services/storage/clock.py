"""The time of commits."""

from __future__ import annotations

import time


class CommitClock:
    """Gives commits their time, which never goes back, even when the machine's clock does."""

    def __init__(self) -> None:
        self.last_us = 0
        """The time of the last commit there was."""

    def now_us(self) -> int:
        """The time of a commit that is made now."""
        self.last_us = max(self.last_us, time.time_ns() // 1000)
        return self.last_us

    def commit_after(self, as_of_us: int) -> None:
        """See to it that no later commit has that time or an earlier one, so that what is read as of then stays true.

        A time that has not come yet is refused later on.
        """
        if as_of_us <= time.time_ns() // 1000:
            self.last_us = max(self.last_us, as_of_us + 1)
