"""Running a compiled query: from its value to the response, or to the first batch of a cursor."""

from __future__ import annotations

from typing import Any

from photondb.datum.size import check_bytes
from photondb.reql.compiler import PROFILE
from photondb.reql.effects import Effects
from photondb.reql.errors import op_failed
from photondb.reql.function import Frame
from photondb.reql.memory import SMALL_BYTES
from photondb.reql.runtime import DEFAULT_DATABASE, Runtime
from photondb.reql.shape import Shape, Shaper
from photondb.reql.spilling.workspace import Workspace
from photondb.reql.stream import Stream, table_stream
from photondb.reql.values import TableSlice, check_array_size
from photondb.telemetry.operations import COMPILE, PLAN
from services.query import responses
from services.query.cursors import Cursor
from services.query.explaining import explained
from services.query.feeds import FeedCursor
from services.query.options import RunOptions
from services.query.plans import Plan, PlanCache
from services.query.results import answered
from services.query.steps import QuerySteps
from services.query.transactions import atomically, in_transaction

Outcome = tuple[bytes, Cursor | None]
"""The response of a query, and its cursor when there is more to come."""


def compile_and_execute(
    shaper: Shaper, shape: Shape, runtime: Runtime, plans: PlanCache, options: RunOptions
) -> Outcome:
    """Run a query of which there is no plan yet (inside an evaluation, because that may take long to compile), or which
    is traced."""
    steps = runtime.profile
    if isinstance(steps, QuerySteps):
        plan = _plan_with_steps(steps, shaper, shape, runtime, plans, options)
    else:
        plan = plans.plan(shaper, shape, options.plan_names, runtime.checkpoint)
    return execute(plan, plan.frame(runtime, shaper.constants), options)


def _plan_with_steps(
    steps: QuerySteps, shaper: Shaper, shape: Shape, runtime: Runtime, plans: PlanCache, options: RunOptions
) -> Plan:
    """The plan of a traced query. Its terms are measured, but for the reads and writes of one document: they have other
    plans otherwise, which others are to find in the cache."""
    with steps.span.child(PLAN) as span:
        names = options.plan_names
        cached = plans.find(shape, names) is not None
        span.note("photondb.plan.cached", cached)
        if cached:
            plan = plans.plan(shaper, shape, names)
        else:
            with span.child(COMPILE):
                plan = plans.plan(shaper, shape, names, runtime.checkpoint)
        if not plan.read and not plan.write:
            plan = plans.plan(shaper, shape, names | {PROFILE}, runtime.checkpoint)
    steps.span.description = plan.summary.description(runtime.options.get("db", DEFAULT_DATABASE))
    return plan


def execute(plan: Plan, frame: Frame, options: RunOptions) -> Outcome:
    """Run the plan (inside an evaluation): its response, and the cursor when there is more to come."""
    runtime: Runtime = frame[0]
    runtime.family = plan.family
    if plan.shares:
        runtime.shared = {}
    if options.explain:
        return explained(plan, frame, options), None
    if options.as_of_us is not None and plan.effects & Effects.WRITES:
        raise op_failed("A query with the run option `as_of` cannot write.")
    if options.atomic:
        return atomically(runtime, plan.effects, lambda: _whole(plan, frame)), None
    if options.transaction:
        return in_transaction(runtime, plan.effects, lambda: _run(plan, frame, options))
    if options.cache:
        return answered(plan, frame, options, lambda: _run(plan, frame, options))
    return _run(plan, frame, options)


def _run(plan: Plan, frame: Frame, options: RunOptions) -> Outcome:
    runtime: Runtime = frame[0]
    value = plan.run(frame)
    if isinstance(value, TableSlice):
        value = table_stream(value)
    if not isinstance(value, Stream):
        return responses.atom(_checked(responses.result_datum(value), runtime)), None
    if value.grouping is not None:
        return responses.atom(responses.grouped_datum(value.to_grouped(runtime))), None
    if value.array_of is not None and not options.stream:
        return responses.raw_atom(_array(value, runtime)), None
    if value.feed:
        feed = FeedCursor(runtime, value, options)
        return feed.first_response(), feed
    cursor = Cursor(runtime, value, options)
    try:
        response = cursor.next_response()
    except BaseException:
        cursor.close()
        raise
    return response, None if cursor.ended else cursor


def _array(stream: Stream, runtime: Runtime) -> bytes:
    """The rows of a stream as the JSON of an array: rows that nobody looked at go into it as they are stored."""
    stream.check_finite()
    parts: list[bytes] = []
    count = size = 0
    workspace: Workspace | None = None
    for chunk in stream.chunks(runtime):
        count += len(chunk)
        check_array_size(count, runtime.array_limit)
        part = chunk.json() if chunk.is_json else responses.datum_json(chunk.values())[1:-1]
        parts.append(part)
        size += len(part)
        check_bytes(size)
        if size > SMALL_BYTES:
            workspace = workspace or runtime.workspace()
            workspace.require(size)
    return b"[%b]" % b",".join(parts)


def _whole(plan: Plan, frame: Frame) -> bytes:
    """The response with all that there is, for a query that must be over when it is answered."""
    runtime: Runtime = frame[0]
    value = plan.run(frame)
    if isinstance(value, TableSlice):
        value = table_stream(value)
    if not isinstance(value, Stream):
        return responses.atom(_checked(responses.result_datum(value), runtime))
    if value.grouping is not None:
        return responses.atom(responses.grouped_datum(value.to_grouped(runtime)))
    rows = value.to_list(runtime)
    if value.array_of is not None and not runtime.streams:
        return responses.atom(rows)
    return responses.rows(responses.datum_json(rows)[1:-1], False)


def _checked(value: Any, runtime: Runtime) -> Any:
    if type(value) is list:
        check_array_size(len(value), runtime.array_limit)
    return value
