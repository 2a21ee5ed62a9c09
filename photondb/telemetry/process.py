"""What a process takes of its machine, and how well its event loop and garbage collector do."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import platform
import resource
import threading
import time
from importlib.metadata import version
from typing import Any

from photondb.reql.memory import resident_bytes, total_bytes
from photondb.telemetry import catalogue
from photondb.telemetry.histogram import Histogram
from photondb.telemetry.scrape import Scrape

LAG_CHECK_S = 0.05
"""How often the event loop is asked for a turn at a certain time, to see how late it comes."""


class ProcessMetrics:
    """The figures of this process, which is called `process` in them."""

    def __init__(self, process: str) -> None:
        self._process = process
        self.lag = Histogram(catalogue.LOOP_LAG)
        self.longest_lag_s = 0.0
        """The longest lag since the start."""
        self.last_lag_s = 0.0
        self._gc_pause = Histogram(catalogue.GC_PAUSE)
        self._gc_started = 0.0
        self._log_counter = _LogCounter()
        self._start_time = _start_time()
        self._watching: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop

    def start(self) -> None:
        """Begin to watch the running loop, the garbage collector, and what is logged."""
        self._loop = asyncio.get_running_loop()
        self._watching = self._loop.create_task(self._watch_lag())
        gc.callbacks.append(self._note_collection)
        logging.getLogger().addHandler(self._log_counter)

    def stop(self) -> None:
        """Watch no more."""
        if self._watching is not None:
            self._watching.cancel()
        gc.callbacks.remove(self._note_collection)
        logging.getLogger().removeHandler(self._log_counter)

    def collect(self, scrape: Scrape) -> None:
        """Write the figures into a reading."""
        process = self._process
        scrape.add(catalogue.BUILD_INFO, 1, process, version("photondb"), platform.python_version())
        scrape.add(catalogue.PROCESS_START, self._start_time, process)
        scrape.add(catalogue.PROCESS_CPU, time.process_time(), process)
        scrape.add(catalogue.PROCESS_RSS, resident_bytes(), process)
        scrape.add(catalogue.PROCESS_MEMORY_LIMIT, total_bytes(), process)
        scrape.add(catalogue.PROCESS_FDS, open_descriptors(), process)
        scrape.add(catalogue.PROCESS_MAX_FDS, resource.getrlimit(resource.RLIMIT_NOFILE)[0], process)
        scrape.add(catalogue.PROCESS_THREADS, threading.active_count(), process)
        for generation, counts in enumerate(gc.get_stats()):
            scrape.add(catalogue.GC_COLLECTIONS, counts["collections"], process, str(generation))
            scrape.add(catalogue.GC_COLLECTED, counts["collected"], process, str(generation))
        scrape.add_histogram(catalogue.GC_PAUSE, self._gc_pause, process)
        scrape.add_histogram(catalogue.LOOP_LAG, self.lag, process)
        scrape.add(catalogue.LOOP_TASKS, len(asyncio.all_tasks(self._loop)), process)
        for level, count in self._log_counter.counts.items():
            scrape.add(catalogue.LOG_RECORDS, count, process, level)

    def report(self) -> dict[str, Any]:
        """How the event loop does."""
        total = self.lag.count
        bounds = [*(f"up to {bound:g}" for bound in self.lag.bounds), "more"]
        return {
            "last_lag_seconds": self.last_lag_s,
            "longest_lag_seconds": self.longest_lag_s,
            "mean_lag_seconds": self.lag.sum / total if total else 0.0,
            "looks": total,
            "looks_by_lag_seconds": dict(zip(bounds, self.lag.counts, strict=True)),
            "tasks": len(asyncio.all_tasks(self._loop)),
        }

    async def _watch_lag(self) -> None:
        while True:
            due = self._loop.time() + LAG_CHECK_S
            await asyncio.sleep(LAG_CHECK_S)
            # A loop's clock ticks in milliseconds with uvloop: a timer may come early by one.
            self.last_lag_s = max(0.0, self._loop.time() - due)
            self.longest_lag_s = max(self.longest_lag_s, self.last_lag_s)
            self.lag.observe(self.last_lag_s)

    def _note_collection(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._gc_started = time.perf_counter()
        else:
            self._gc_pause.observe(time.perf_counter() - self._gc_started)


def open_descriptors() -> int:
    """How many file descriptors this process has open."""
    return len(os.listdir("/proc/self/fd")) - 1  # without that of the listing itself


def _start_time() -> float:
    """When this process was started, in seconds since 1970."""
    with open("/proc/self/stat") as stat, open("/proc/stat") as machine:
        ticks = int(stat.read().rpartition(")")[2].split()[19])
        booted = next(int(line.split()[1]) for line in machine if line.startswith("btime "))
    return booted + ticks / os.sysconf("SC_CLK_TCK")


class _LogCounter(logging.Handler):
    """Counts what is logged, without keeping any of it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.counts = {"warning": 0, "error": 0}

    def emit(self, record: logging.LogRecord) -> None:
        self.counts["error" if record.levelno >= logging.ERROR else "warning"] += 1
