"""Functions where nothing can interrupt them: while storage changes or indexes a document, or a feed looks at one,
everybody else waits.

What they do there is counted in elements of arrays that they go through, and not in seconds, so that the function of an
index fails for the same documents each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from photondb.reql.errors import resource_limit

T = TypeVar("T")

MAX_ELEMENTS = 2_000_000
"""How many elements the functions of one document may go through; that takes about a second."""


class Work:
    """What is being done to one document. `limited` says that nothing can interrupt it; it may not wait."""

    __slots__ = ("_left", "limited")

    def __init__(self) -> None:
        self.limited = False
        self._left = 0

    def do(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function, which may go through so many elements. Raises where it goes through more."""
        before = self.limited, self._left
        self.limited, self._left = True, MAX_ELEMENTS
        try:
            return function(*args)
        finally:
            self.limited, self._left = before

    def spend(self, elements: int) -> None:
        """Count elements. Raises when they have become too many."""
        self._left -= elements
        if self._left < 0:
            raise resource_limit(
                f"The function goes through more than {MAX_ELEMENTS:,} array elements for one document, which would "
                "hold up everybody else."
            )


WORK = Work()
"""What this process is doing to a document just now."""
