"""Rate, errors and duration of what a service is asked for."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from time import perf_counter
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from photondb.api.auth import AuthenticationFailed
from photondb.api.storage import LogGap, TableGone
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.telemetry import catalogue
from photondb.telemetry.histogram import Histogram
from photondb.telemetry.scrape import Scrape

P = ParamSpec("P")
T = TypeVar("T")

_NO_FAILURES = {ErrorKind.INTERNAL.name.lower(): 0}
"""What is told of an operation that has not failed, so that there is something to compare with when it does."""


class RequestMetrics:
    """What one service was asked for, by operation."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.in_flight = 0
        self._durations: dict[str, Histogram] = {}
        self._failures: dict[str, dict[str, int]] = {}

    def observe(self, operation: str, duration_s: float, times: int = 1) -> None:
        """Count requests that took so long, whatever came out."""
        histogram = self._durations.get(operation)
        if histogram is None:
            histogram = self._durations[operation] = Histogram(catalogue.REQUEST_DURATION)
        histogram.observe(duration_s, times)

    def fail(self, operation: str, error: BaseException | ErrorKind, times: int = 1) -> None:
        """Count requests that ended with an error; they are observed, too."""
        failures = self._failures.setdefault(operation, dict(_NO_FAILURES))
        kind = error_kind(error)
        failures[kind] = failures.get(kind, 0) + times

    def collect(self, scrape: Scrape) -> None:
        """Write the numbers into a reading."""
        scrape.add(catalogue.REQUESTS_IN_FLIGHT, self.in_flight, self.service)
        for operation, histogram in self._durations.items():
            scrape.add_histogram(catalogue.REQUEST_DURATION, histogram, self.service, operation)
            for kind, count in self._failures.get(operation, _NO_FAILURES).items():
                scrape.add(catalogue.REQUEST_ERRORS, count, self.service, operation, kind)


def error_kind(error: BaseException | ErrorKind) -> str:
    """The kind of an error as a label: one of few."""
    if isinstance(error, ErrorKind):
        return error.name.lower()
    if isinstance(error, ReqlError):
        return error.kind.name.lower()
    if isinstance(error, AuthenticationFailed):
        return "authentication"
    if isinstance(error, TableGone):
        return "table_gone"
    return "log_gap" if isinstance(error, LogGap) else ErrorKind.INTERNAL.name.lower()


class Measured(Protocol):
    """What has methods that are `measured`."""

    @property
    def requests(self) -> RequestMetrics: ...


S = TypeVar("S", bound=Measured)


def measured(
    method: Callable[Concatenate[S, P], Awaitable[T]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Have the calls of an async method counted as the operation of its name."""
    operation = method.__name__

    @functools.wraps(method)
    async def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        requests = self.requests
        requests.in_flight += 1
        started = perf_counter()
        try:
            return await method(self, *args, **kwargs)
        except Exception as error:
            requests.fail(operation, error)
            raise
        finally:
            requests.in_flight -= 1
            requests.observe(operation, perf_counter() - started)

    return call
