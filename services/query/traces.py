"""The traces of a channel's queries: begun when they are taken in, ended when they are answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from photondb.api.context import SpanNames
from photondb.api.query import Answer, Request
from photondb.reql.runtime import DEFAULT_DATABASE, Runtime
from photondb.telemetry.operations import RUN
from photondb.telemetry.responses import are_complete, error_of
from photondb.telemetry.span_encoding import encode_failure
from photondb.telemetry.spans import Span
from photondb.telemetry.tracing import Tracer
from services.query.options import RunOptions
from services.query.steps import QuerySteps

if TYPE_CHECKING:
    from services.query.plans import Plan


class ChannelTraces:
    """The traced queries that have been taken in and not answered. It is false while there are none."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[int, int], list[Span]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def expect_answer(self, request: Request, span: Span) -> None:
        """End the span when the query is answered."""
        self._waiting.setdefault((request.session, request.token), []).append(span)

    def go_on(self, request: Request, runtime: Runtime) -> None:
        """A cursor's next batch is worked on: what it does and calls is part of this request now."""
        spans = self._waiting.get((request.session, request.token))
        if spans:
            runtime.context = spans[-1].within(runtime.context)
            if isinstance(runtime.profile, QuerySteps):
                runtime.profile.span = spans[-1]

    def end(self, answers: Sequence[Answer]) -> None:
        """These answers are about to leave."""
        for answer in answers:
            spans = self._waiting.get((answer.session, answer.token))
            if spans is None:
                continue
            span = spans.pop(0)
            answer.span = span.parents[0]
            span.error = error_of(answer.payload)
            span.end()
            if not spans:
                del self._waiting[answer.session, answer.token]

    def abandon(self, session: int) -> None:
        """The client has gone: its queries are not answered any more."""
        for key in [key for key in self._waiting if key[0] == session]:
            for span in self._waiting.pop(key):
                span.error = "CLIENT_GONE"
                span.end()


class PointTraces:
    """The spans of queries that read one document, or that write one, and are carried out together: they were taken in
    from `start_ns` on."""

    def __init__(
        self,
        tracer: Tracer,
        queries: Sequence[tuple[Request, Plan, Any, RunOptions, *tuple[Any, ...]]],
        start_ns: int,
    ) -> None:
        parents = tuple([request.span for request, *_ in queries if request.span is not None])
        self._spans = tracer.query_spans(RUN, parents, start_ns)
        self._descriptions: list[bytes] = []
        described: tuple[Plan, RunOptions] | None = None
        for _, plan, _, options, *_ in queries:
            if described is None or described[0] is not plan or described[1] is not options:
                described = plan, options
                description = plan.summary.description(options.language.get("db", DEFAULT_DATABASE))
            self._descriptions.append(description)

    @property
    def names(self) -> SpanNames:
        """The parents of what is done for them."""
        return self._spans.names

    def one_by_one(self) -> list[Span]:
        """The spans, where each of the queries is to be carried out by itself after all."""
        return [self._spans.span(position) for position in range(len(self._descriptions))]

    def end(self, payloads: Sequence[bytes]) -> None:
        """They have these answers."""
        descriptions = self._descriptions
        if not are_complete(payloads):
            errors = map(error_of, payloads)
            descriptions = [
                description + encode_failure(error) if error else description
                for description, error in zip(descriptions, errors, strict=True)
            ]
        self._spans.end(range(len(descriptions)), descriptions)
