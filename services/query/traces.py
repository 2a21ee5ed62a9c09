"""The traces of a channel's queries: begun when they are taken in, ended when they are answered."""

from __future__ import annotations

from collections.abc import Sequence

from photondb.api.query import Answer, Request
from photondb.reql.runtime import Runtime
from photondb.telemetry.responses import error_of
from photondb.telemetry.spans import Span
from services.query.steps import QuerySteps


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
            end_answered(spans.pop(0), answer.payload)
            if not spans:
                del self._waiting[answer.session, answer.token]

    def abandon(self, session: int) -> None:
        """The client has gone: its queries are not answered any more."""
        for key in [key for key in self._waiting if key[0] == session]:
            for span in self._waiting.pop(key):
                span.error = "CLIENT_GONE"
                span.end()


def end_answered(span: Span, payload: bytes) -> None:
    """End the span of a query with this answer."""
    span.error = error_of(payload)
    span.end()
