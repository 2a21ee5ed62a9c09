"""The queries of one submit, sorted by what they need.

Point writes are carried out together (`batch_writes.py`), point reads become one multi-get (`batch_reads.py`), queries
about their constants alone are answered where they are met, and everything else is left in `others`, to be run query by
query.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from photondb.api.auth import ADMIN
from photondb.api.catalogue import TableInfo
from photondb.api.context import INTERNAL
from photondb.api.query import Answer, Request
from photondb.api.storage import Write
from photondb.datum.errors import DatumError
from photondb.reql.errors import ClientError, ReqlError
from photondb.reql.function import Frame
from photondb.reql.parameters import reql_error
from photondb.reql.runtime import DEFAULT_DATABASE, Runtime
from photondb.reql.shape import LongQueryShaper, Shape, Shaper
from photondb.reql.wire import QueryType
from photondb.telemetry import tracing
from photondb.telemetry.controls import CONTROLS
from photondb.telemetry.operations import RUN
from photondb.telemetry.spans import Span
from photondb.telemetry.tracing import Tracer
from services.query import responses
from services.query.execution import Outcome, compile_and_execute, execute
from services.query.failures import as_reql_error
from services.query.options import NO_OPTIONS, RunOptions, read_options
from services.query.plans import Plan
from services.query.pure_queries import pure_response
from services.query.responses import NO_ANSWER
from services.query.running import Execute, continue_query, noreply_wait, start_query, stop_query
from services.query.short_reads import ShortRead, start_short_read
from services.query.steps import QuerySteps
from services.query.traces import PointTraces

if TYPE_CHECKING:
    from services.query.channel import Channel, Start

PointRead: TypeAlias = tuple[Request, Plan, Frame, RunOptions]
PointWrite: TypeAlias = tuple[Request, Plan, TableInfo, RunOptions, list[str]]
Other: TypeAlias = "tuple[Request, Start]"

PURE_S = 0.002
"""How long queries that need no evaluation are answered for where they arrive; the others of a batch wait in line."""

_DURABILITIES = (None, "hard", "soft")

LONG_QUERY_BYTES = 256 * 1024
"""What is longer is taken apart in an evaluation, which lets others go on."""


class Batch:
    """The queries of one `submit`, sorted by what they need."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.service = channel.service
        self.metrics = channel.service.metrics
        self.started = time.monotonic()
        self.answers: list[Answer] = []
        self.others: list[Other] = []
        self.computed: list[tuple[Request]] = []
        """The pure queries that have been answered."""
        self._pure_ends = perf_counter() + PURE_S
        self.reads: list[PointRead] = []
        self.read_keys: list[tuple[int, bytes]] = []
        self.writes: list[PointWrite] = []
        self.write_statements: list[Write] = []
        self.now = channel.service.now()
        self._plain: Runtime | None = None
        """The runtime of the queries that read or write one document without any option: it has no state of theirs."""
        self.traced_reads: list[int] = []
        self.traced_writes: list[int] = []
        """The positions of the reads and of the writes that are traced."""
        self.tracer: Tracer | None = None
        """Set while a query is being taken in that is traced."""
        self.span: Span | None = None
        """The span of that query, where it has one before all reads and writes together get theirs."""
        self.traced_ns = 0
        """When the first of the traced queries was taken in."""

    def take(self, request: Request) -> None:
        """Sort a request in. An error becomes its answer."""
        if request.kind == "end_session":
            self.channel.end_session(request.session)
            return
        if request.client:
            self.channel.session(request.session).client = request.client
        try:
            self._take_query(request, _envelope(request.payload))
        except Exception as error:
            failure = as_reql_error(error)
            self.metrics.requests.fail("invalid", failure)
            self.count("invalid")
            self.answers.append(Answer(request.session, request.token, responses.failure(failure)))

    def count(self, operation: str, times: int = 1) -> None:
        """Count requests that came with this batch and are answered now."""
        self.metrics.requests.observe(operation, time.monotonic() - self.started, times)

    def note_slow(self, answered: Sequence[tuple[Request, *tuple[Any, ...]]]) -> None:
        """Log the queries that were answered together, if that took long."""
        threshold_ms = CONTROLS.slow_query_ms
        if threshold_ms and (time.monotonic() - self.started) * 1000 >= threshold_ms:
            for request, *_ in answered:
                self.service.slow_queries.note(self.channel, request, self.started)

    def take_traced(self, request: Request, tracer: Tracer) -> None:
        """The same for a request that is traced."""
        self.traced_ns = self.traced_ns or time.time_ns()
        reads, writes = len(self.reads), len(self.writes)
        self.tracer = tracer
        self.take(request)
        self.tracer = None
        if len(self.reads) > reads:
            self.traced_reads.append(reads)
        elif len(self.writes) > writes:
            self.traced_writes.append(writes)
        else:
            self.channel.traces.expect_answer(request, self.span or self._begin_span(request, tracer))
            self.span = None

    def _begin_span(self, request: Request, tracer: Tracer) -> Span:
        assert request.span is not None
        self.span = tracer.span(RUN, (request.span,))
        return self.span

    def begin_traced(
        self, queries: Sequence[tuple[Request, Plan, Any, RunOptions, *tuple[Any, ...]]], positions: Sequence[int]
    ) -> PointTraces | None:
        """Begin the spans of the traced ones of the reads, or of the writes."""
        tracer = tracing.TRACER
        if not positions or tracer is None:
            return None
        return PointTraces(tracer, [queries[position] for position in positions], self.traced_ns)

    def _runtime(self, request: Request, options: RunOptions) -> Runtime:
        """The runtime of a query that runs by itself."""
        if self.tracer is None:
            return self.service.runtime(request.context, options)
        span = self._begin_span(request, self.tracer)
        runtime = self.service.runtime(span.within(request.context), options)
        runtime.profile = QuerySteps(span)
        return runtime

    def _take_query(self, request: Request, envelope: list[Any]) -> None:
        kind = envelope[0]
        if kind == 1:
            self._take_start(request, envelope)
        elif kind == QueryType.CONTINUE:
            self.others.append((request, functools.partial(continue_query, self.channel, request)))
        elif kind == QueryType.STOP:
            if self.others or self.channel.backlog:  # among which may be the query that is to be stopped
                self.others.append((request, functools.partial(stop_query, self.channel, request)))
            else:
                self.answers.append(stop_query(self.channel, request))
            self.count("stop")
        elif kind == QueryType.NOREPLY_WAIT:
            self.others.append((request, functools.partial(noreply_wait, self.channel, request)))
        elif kind == QueryType.SERVER_INFO:
            info = responses.server_info(self.service.server_id, self.service.server_name)
            self.answers.append(Answer(request.session, request.token, info))
            self.count("server_info")
        else:
            raise ClientError(f"Unrecognized query type: {kind!r}.")

    def _take_start(self, request: Request, envelope: list[Any]) -> None:
        if len(envelope) < 2:
            raise ClientError("A START query must have a term.")
        given = envelope[2] if len(envelope) > 2 else None
        options = read_options(given) if given else NO_OPTIONS
        try:
            service = self.service
            names = options.plan_names
            if len(request.payload) > LONG_QUERY_BYTES:
                self._take_long(request, envelope[1], options)
                return
            taken_apart: tuple[Shaper, Shape] | None = None
            recognised = service.plans.recognise(envelope[1], names) if self.tracer is None else None
            if recognised is not None:
                plan, constants = recognised
            else:
                shaper = Shaper(self.now, "array_limit" not in names)
                shape = shaper.shape(envelope[1])
                found = service.plans.find(shape, names)
                if found is None:
                    runtime = self._runtime(request, options)
                    run = functools.partial(compile_and_execute, shaper, shape, runtime, service.plans, options)
                    self._start(request, runtime, options, run)
                    return
                taken_apart = shaper, shape
                plan, constants = found, shaper.constants
                if plan.quick:
                    service.plans.learn(envelope[1], plan, names)
            if plan.pure and self.tracer is None and self._take_pure(request, plan, constants, options):
                return
            # What users without every right ask for is run by itself: to check their rights may mean to wait.
            if (plan.read or plan.write) and request.context.user == ADMIN:
                if self._plain is None:
                    self._plain = service.runtime(INTERNAL)
                frame = plan.frame(self._plain, constants)
                if self._take_point(request, plan, frame, options):
                    return
            elif (
                plan.short_read is not None
                and request.context.user == ADMIN
                and self._take_short(request, plan, plan.short_read, constants, options)
            ):
                return
            runtime = self._runtime(request, options)
            if runtime.profile is not None and taken_apart is not None:
                run = functools.partial(compile_and_execute, *taken_apart, runtime, service.plans, options)
                self._start(request, runtime, options, run)
                return
            frame = plan.frame(runtime, constants)
            self._start(request, runtime, options, functools.partial(execute, plan, frame, options))
        except (ReqlError, DatumError) as error:
            if not options.noreply:
                raise reql_error(error, ()) if isinstance(error, DatumError) else error from None
            self.answers.append(Answer(request.session, request.token, NO_ANSWER))

    def _take_pure(self, request: Request, plan: Plan, constants: list[Any], options: RunOptions) -> bool:
        """Answer a query that is about its constants alone, if that is quickly done and nothing is wrong with it."""
        session = self.channel.sessions.get(request.session)
        if session is not None and (request.token in session.cursors or request.token in session.running):
            return False
        if options.noreply or perf_counter() > self._pure_ends:
            return False
        payload = pure_response(plan, constants)
        if payload is None:
            return False
        self.answers.append(Answer(request.session, request.token, payload))
        self.computed.append((request,))
        return True

    def _take_long(self, request: Request, term: Any, options: RunOptions) -> None:
        """Take in a query so long that to take it apart takes a while."""
        runtime = self._runtime(request, options)
        shaper = LongQueryShaper(self.now, "array_limit" not in options.plan_names, runtime.checkpoint)

        def run() -> Outcome:
            return compile_and_execute(shaper, shaper.shape(term), runtime, self.service.plans, options)

        self._start(request, runtime, options, run)

    def _start(self, request: Request, runtime: Runtime, options: RunOptions, run: Execute) -> None:
        self.others.append(self.evaluation(request, runtime, options, run))

    def evaluation(self, request: Request, runtime: Runtime, options: RunOptions, run: Execute) -> Other:
        """A query that is to be run by itself."""
        return request, functools.partial(start_query, self.channel, request, runtime, options, run)

    def _take_point(self, request: Request, plan: Plan, frame: Frame, options: RunOptions) -> bool:
        """Take in a read or write of one document. Where something is wrong with it, the evaluator finds the same, and
        says it with its place in the query."""
        language = options.language
        try:
            if plan.read is not None:
                info = plan.read.table.find(self.service.catalogue, language.get("db", DEFAULT_DATABASE))
                if info is None:
                    return False
                self.read_keys.append((info.id, plan.read.key(frame)))
                self.reads.append((request, plan, frame, options))
                return True
            assert plan.write is not None
            info = plan.write.table.find(self.service.catalogue, language.get("db", DEFAULT_DATABASE))
            if info is None:
                return False
            durability = language.get("durability")
            if durability not in _DURABILITIES:
                return False
            statement, keys = plan.write.write(frame, info, durability)
        except (DatumError, ReqlError):
            return False
        self.writes.append((request, plan, info, options, keys))
        self.write_statements.append(statement)
        return True

    def _take_short(
        self, request: Request, plan: Plan, read: ShortRead, constants: list[Any], options: RunOptions
    ) -> bool:
        """Take in a read of some documents, if it is as it should be."""
        if options.batching or options.noreply:
            return False
        info = read.table.find(self.service.catalogue, options.language.get("db", DEFAULT_DATABASE))
        if info is None:
            return False
        frame = plan.frame(None, constants)
        try:
            wanted = read.wanted(frame, info)
        except (DatumError, ReqlError):
            return False
        if wanted is None:
            return False

        if self.tracer is not None:
            span = self._begin_span(request, self.tracer)
            span.description = plan.summary.description(options.language.get("db", DEFAULT_DATABASE))
            request.context = span.within(request.context)

        def evaluate() -> Answer | None:
            runtime = frame[0] = self.service.runtime(request.context, options)
            return start_query(self.channel, request, runtime, options, lambda: execute(plan, frame, options))

        self.others.append(
            (request, functools.partial(start_short_read, self.channel, request, read, wanted, evaluate))
        )
        return True

    def count_computed(self) -> None:
        """Count the pure queries that have been answered."""
        if self.computed:
            self.count("compute", len(self.computed))
            self.note_slow(self.computed)


def _envelope(payload: bytes) -> list[Any]:
    """The [type, term, options] of a frame, checked."""
    try:
        envelope = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        if "depth limit" in str(error):
            raise ClientError("The query is nested too deeply.") from None
        raise ClientError("Client is buggy (failed to deserialize query).") from None
    if type(envelope) is not list or not envelope or type(envelope[0]) is not int or len(envelope) > 3:
        raise ClientError("Expected a query of the form [type, term, options].")
    if len(envelope) == 3 and type(envelope[2]) is not dict:
        raise ClientError("Expected the options of a query to be an OBJECT.")
    return envelope
