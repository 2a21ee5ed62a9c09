"""What the query service keeps for a client connection: its cursors and its running queries."""

from __future__ import annotations

import asyncio
from typing import Any

from services.query.cursors import Cursor

MAX_CURSORS = 10_000
"""Cursors that one connection may have open."""


class Session:
    """One client connection. `running` are the queries under way by token, `noreply` those of them that nobody will
    hear of; `busy` are the tokens of cursors that are fetching."""

    __slots__ = ("cursors", "noreply", "number", "running")

    def __init__(self, number: int) -> None:
        self.number = number
        self.cursors: dict[int, Cursor] = {}
        self.running: dict[int, asyncio.Task[Any]] = {}
        self.noreply: set[asyncio.Task[None]] = set()

    def end(self) -> None:
        """Cancel what runs and free the cursors. One that is fetching is freed by the cancellation."""
        for task in (*self.running.values(), *self.noreply):
            task.cancel()
        for token, cursor in self.cursors.items():
            if token not in self.running:
                cursor.close()
        self.running.clear()
        self.cursors.clear()
