"""How the tests of the bus wait for a message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds; the test's own time limit ends a wait in vain."""
    while not condition():
        await asyncio.sleep(0.002)
