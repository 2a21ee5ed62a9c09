"""Requests over HTTP that are part of a trace: those whose `traceparent` header says that their client records one.

Others begin no trace: most are those of load balancers and of Prometheus, every few seconds.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from photondb.api.context import CURRENT, INTERNAL
from photondb.telemetry import tracing
from photondb.telemetry.operations import HTTP_REQUEST
from photondb.telemetry.trace_context import TRACEPARENT, TRACESTATE, read_traceparent


def traced_http(app: ASGIApp) -> ASGIApp:
    """The application, with a span for each request that is part of a trace; its calls are part of it, too."""

    async def traced(scope: Scope, receive: Receive, send: Send) -> None:
        tracer = tracing.TRACER
        headers = dict(scope.get("headers", ())) if tracer is not None and scope["type"] == "http" else {}
        parent = read_traceparent(headers.get(TRACEPARENT.encode(), b"").decode("latin-1"))
        if tracer is None or parent is None or not tracer.sampler.follows(parent):
            await app(scope, receive, send)
            return
        with tracer.span(HTTP_REQUEST, (parent.name,)) as span:
            span.name = f"{scope['method']} {scope['path']}"  # there are few, without those that are not found
            span.trace_state = headers.get(TRACESTATE.encode(), b"").decode("latin-1")
            span.note("http.request.method", scope["method"])
            span.note("url.path", scope["path"])
            span.note("url.scheme", scope["scheme"])

            async def send_noting(message: Message) -> None:
                if message["type"] == "http.response.start":
                    status = message["status"]
                    span.note("http.response.status_code", status)
                    if status == 404:
                        span.name = scope["method"]
                    if status >= 500:
                        span.error = str(status)
                await send(message)

            CURRENT.set(span.within(INTERNAL))
            await app(scope, receive, send_noting)

    return traced
