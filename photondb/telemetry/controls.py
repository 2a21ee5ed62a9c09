"""What operators can change while a process runs: which queries count as slow, and which are traced.

It holds until the process ends; the settings say how it begins. Log levels are changed at `/_debug/log_levels`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from photondb.config import Settings
from photondb.telemetry import tracing


class Controls:
    """The controls of this process. `slow_query_ms` is from when on a query is logged as slow; 0 for never."""

    def __init__(self) -> None:
        self.slow_query_ms = 0

    def configure(self, settings: Settings) -> None:
        """Begin as the settings say."""
        self.slow_query_ms = settings.slow_query_ms

    def shown(self) -> dict[str, Any]:
        """All of them. `trace_ratio` is null where nothing is traced."""
        tracer = tracing.TRACER
        return {
            "slow_query_ms": self.slow_query_ms,
            "trace_ratio": None if tracer is None else tracer.sampler.ratio,
        }

    def change(self, given: Any) -> None:
        """Set those that are given, or none of them. Raises ValueError saying what is wrong."""
        if type(given) is not dict:
            raise ValueError("expected an object")
        changes = []
        for name, value in given.items():
            change = _CHANGES.get(name)
            if change is None:
                raise ValueError(f"there is no `{name}`: there are {', '.join(_CHANGES)}")
            changes.append((change, _checked(name, value)))
        for change, value in changes:
            change(self, value)

    def _set_slow_query_ms(self, value: int) -> None:
        self.slow_query_ms = value


def _checked(name: str, value: Any) -> Any:
    if name == "slow_query_ms" and type(value) is int and value >= 0:
        return value
    if name == "trace_ratio":
        if not tracing.is_configured():
            raise ValueError("`trace_ratio` needs a collector: start with --otlp-endpoint")
        if value is None or (type(value) in (int, float) and 0 <= value <= 1):
            return value
    raise ValueError(f"`{name}` must be {_EXPECTED[name]}")


_CHANGES: dict[str, Callable[[Controls, Any], None]] = {
    "slow_query_ms": Controls._set_slow_query_ms,
    "trace_ratio": lambda _, value: tracing.set_ratio(value),
}
_EXPECTED = {
    "slow_query_ms": "a number of milliseconds, 0 for no log of slow queries",
    "trace_ratio": "a number from 0 to 1, or null to trace nothing",
}

CONTROLS = Controls()


async def controls(request: Request) -> JSONResponse:
    """The endpoint: GET shows the controls, PATCH changes some of them."""
    if request.method == "PATCH":
        try:
            CONTROLS.change(orjson.loads(await request.body()))
        except ValueError as error:  # also of what is not JSON
            raise HTTPException(400, f"{error}.") from None
    return JSONResponse(CONTROLS.shown())
