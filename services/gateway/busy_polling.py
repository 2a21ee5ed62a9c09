"""Looking for the next query without falling asleep, where it is likely to come at once.

To wake a process up takes longer than to answer a query by key: some 50 us where the client is on another processor.
So after the answer to a query that was alone the event loop goes on looking at its sockets for a short time, as long as
queries come within that time after the answers before them. The first one that does not ends it, until one does again:
as hypervisors decide how soon to halt a processor that has nothing to do (`halt_poll_ns` of Linux's KVM). So a client
that waits for each answer has the next one sooner, and one that has other things to do between costs nothing.
"""

from __future__ import annotations

import asyncio
from time import perf_counter

from photondb.config.machine import processors
from photondb.telemetry import catalogue
from photondb.telemetry.scrape import Scrape

DEFAULT_WINDOW_US = 100
"""What a client takes, from an answer to its next query on a connection of the same machine or rack, and some more."""


def default_window_us() -> int:
    """Nothing where the client may need the only processor."""
    return DEFAULT_WINDOW_US if processors() >= 2 else 0


class PollingWindow:
    """Decides until when to look for the next query. All times are seconds of one clock."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._answered = float("-inf")
        self._likely = False

    def asked(self, now: float) -> None:
        """Note that a query came."""
        self._likely = now - self._answered < self._window_s

    def answered(self, now: float) -> float:
        """Note that the query has its answer. Returns until when the next one is looked for: `now` for not at all."""
        self._answered = now
        return now + self._window_s if self._likely else now


class BusyPolling:
    """Keeps an event loop awake for at most `window_us` after an answer; never, where that is 0."""

    def __init__(self, window_us: int) -> None:
        self._window = PollingWindow(window_us / 1e6)
        self._found, self._missed = 0, 0
        self._until = 0.0
        self._awake = False
        self._looking = False
        self._loop: asyncio.AbstractEventLoop

    def start(self) -> None:
        """Begin with the running loop."""
        self._loop = asyncio.get_running_loop()

    def asked(self, now: float) -> None:
        """Note that a query came, at that reading of `perf_counter`."""
        self._window.asked(now)
        if self._awake:
            self._awake = False
            self._found += 1

    def collect(self, scrape: Scrape) -> None:
        """Write what is counted into a reading."""
        scrape.add(catalogue.GATEWAY_BUSY_POLLS, self._found, "query")
        scrape.add(catalogue.GATEWAY_BUSY_POLLS, self._missed, "nothing")

    def answered(self) -> None:
        """Note that a query which was alone has its answer."""
        now = perf_counter()
        self._until = self._window.answered(now)
        if self._until > now:
            self._awake = True
            if not self._looking:
                self._look()

    def _look(self) -> None:
        """Come back when the loop has looked at the sockets, for which it does not wait as long as this goes on."""
        self._looking = self._awake and perf_counter() < self._until
        if self._looking:
            self._loop.call_soon(self._look)
        elif self._awake:
            self._awake = False
            self._missed += 1
