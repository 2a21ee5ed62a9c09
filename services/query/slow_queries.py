"""The log of slow queries: what took long, with the query as text and how it is run.

Neither has values of the query in it: there is `?` in their place. A log is kept longer and read by more people than
the database, and whether a value is a secret cannot be told from it. Who may know sees the values in the system table
`jobs` while the query runs.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from photondb.api.query import Request
from photondb.reql.shape import Shaper
from photondb.reql.suspend import Evaluation
from photondb.telemetry.controls import CONTROLS
from services.query.explaining import explanation
from services.query.options import RunOptions, read_options
from services.query.summaries import QuerySummary

if TYPE_CHECKING:
    from services.query.channel import Channel
    from services.query.service import Query

log = logging.getLogger(__name__)

MAX_PER_SECOND = 10
"""Slow queries that are logged in a second; how many there were besides is told with the next one."""

MAX_EXPLAINED_BYTES = 64 * 1024
"""Longer queries are logged without their text and plan."""


class SlowQueries:
    """Logs the slow queries of a query service."""

    def __init__(self, service: Query) -> None:
        self._service = service
        self._second = 0
        self._logged = 0
        self._omitted = 0

    def note(self, channel: Channel, request: Request, started: float, error: BaseException | None = None) -> None:
        """A query has been answered on which work began at that time (of the monotonic clock): log it if that was
        long ago."""
        threshold_ms = CONTROLS.slow_query_ms
        now = time.monotonic()
        duration_ms = (now - started) * 1000
        if not threshold_ms or duration_ms < threshold_ms:
            return
        if int(now) != self._second:
            self._second, self._logged = int(now), 0
        if self._logged >= MAX_PER_SECOND:
            self._omitted += 1
            return
        self._logged += 1
        fields: dict[str, Any] = {
            "duration_ms": round(duration_ms, 1),
            "user": request.context.user,
            "client": channel.session(request.session).client,
        }
        if self._omitted:
            fields["omitted"], self._omitted = self._omitted, 0
        if error is not None:
            fields["error_kind"] = type(error).__name__
        if request.span is not None:
            fields["trace_id"] = request.span[0].hex()
        self._service.keep(asyncio.get_running_loop().create_task(self._log(request, fields)))

    async def _log(self, request: Request, fields: dict[str, Any]) -> None:
        try:
            if len(request.payload) <= MAX_EXPLAINED_BYTES:
                await self._describe(request, fields)
        except Exception:  # what cannot be compiled has no plan, and one whose table is gone has none any more
            log.debug("a slow query cannot be explained", exc_info=True)
        log.warning("slow query", extra=fields)

    async def _describe(self, request: Request, fields: dict[str, Any]) -> None:
        _, term, *given = orjson.loads(request.payload)
        options = read_options(given[0]) if given else RunOptions()
        shaper = Shaper(self._service.now(), "array_limit" not in options.plan_names)
        shape = shaper.shape(term)
        fields["query"] = QuerySummary(shape).text
        plan = self._service.plans.plan(shaper, shape, options.plan_names)
        context = msgspec.structs.replace(request.context, deadline=None)
        frame = plan.frame(self._service.runtime(context, options), shaper.constants)
        evaluation = Evaluation().begin(explanation, plan, frame, options)
        fields["plan"] = plan_text(evaluation.result() if evaluation.finished else await evaluation.complete())


def plan_text(step: dict[str, Any]) -> str:
    """An explanation in a line: the last step first, and after each what it gets its rows from."""
    words = [step["step"]]
    for name in ("table", "by"):
        if name in step:
            words.append(f"{'by ' if name == 'by' else ''}{step[name]}")
    text = f"{' '.join(words)} ({step['runs_in']}, {step.get('rows', 0)} rows)"
    inputs = step.get("input")
    if inputs is None:
        return text
    below = " + ".join(map(plan_text, inputs)) if type(inputs) is list else plan_text(inputs)
    return f"{text} < {below}"
