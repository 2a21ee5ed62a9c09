"""Spans are what OTLP's messages say, and get out of the process or are counted."""

from __future__ import annotations

import threading

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Status
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan

from photondb.api.context import SpanNames
from photondb.reql.errors import CompileError, ErrorKind, ReqlError
from photondb.telemetry import span_export
from photondb.telemetry.sampling import Sampler
from photondb.telemetry.span_encoding import MAX_LINKS, MAX_TEXT, encode_attributes, encode_failure
from photondb.telemetry.span_export import SpanExporter
from photondb.telemetry.spans import Operation, QuerySpans, Span, SpanKind
from photondb.telemetry.trace_context import read_traceparents, write_traceparents

WORK = Operation("query", "work", SpanKind.SERVER, {"fixed": "yes"})


class Received:
    """Takes spans, as the exporter does, and decodes them."""

    def __init__(self) -> None:
        self.spans: list[OtlpSpan] = []

    def put(self, scope: str, spans: bytes, count: int) -> None:
        assert scope == "query"
        received = ScopeSpans.FromString(spans).spans
        assert len(received) == count
        self.spans += received


def parents(count: int) -> SpanNames:
    return tuple(
        [
            (bytes([number % 250 + 1]) * 8 + number.to_bytes(8, "big"), b"parent%02d" % (number % 100))
            for number in range(count)
        ]
    )


def test_a_span_has_everything_that_it_was_given() -> None:
    received = Received()
    (parent,) = parents(1)
    span = Span(received, WORK, (parent,), start_ns=1_000)
    span.name = "wörk"
    given: dict[str, str | int | float | bool] = {
        "text": "ä" * 200,
        "short": "\ud800",
        "int": -5,
        "large": 2**40,
        "float": 1.5,
        "true": True,
        "one": 1,
    }
    for key, value in given.items():
        span.note(key, value)
    span.note("long", "x" * (MAX_TEXT + 1))
    span.trace_state = "a=1"
    span.end(2_000)
    (found,) = received.spans
    assert (found.trace_id, found.parent_span_id) == parent
    assert [(found.trace_id, found.span_id)] == list(span.names)
    assert read_traceparents(write_traceparents(span.names).split(",")) == span.names
    assert (found.name, found.kind, found.trace_state) == ("wörk", OtlpSpan.SPAN_KIND_SERVER, "a=1")
    assert (found.start_time_unix_nano, found.end_time_unix_nano) == (1_000, 2_000)
    attributes = {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in found.attributes}
    assert attributes == {**given, "short": "?", "long": "x" * MAX_TEXT, "fixed": "yes"}
    assert type(attributes["true"]) is bool
    assert type(attributes["one"]) is int
    assert found.status.code == Status.STATUS_CODE_UNSET
    assert found.flags & 1


def test_errors_are_told_without_their_messages() -> None:
    received = Received()
    for error in (ReqlError(ErrorKind.NON_EXISTENCE, "secret"), CompileError("secret"), ValueError("secret")):
        try:
            with Span(received, WORK, parents(1)):
                raise error
        except type(error):
            pass
    assert {span.status.code for span in received.spans} == {Status.STATUS_CODE_ERROR}
    kinds = [pair.value.string_value for span in received.spans for pair in span.attributes if pair.key == "error.type"]
    assert kinds == ["NON_EXISTENCE", "COMPILE_ERROR", "ValueError"]
    assert "secret" not in str(received.spans)


def test_what_is_done_for_many_is_a_span_in_the_trace_of_each() -> None:
    received = Received()
    many = parents(MAX_LINKS + 10)
    span = Span(received, WORK, many)
    child = span.child(WORK)
    span.end()
    assert [(found.trace_id, found.parent_span_id) for found in received.spans] == list(many)
    first, *others = received.spans
    assert [(link.trace_id, link.span_id) for link in first.links] == list(many[1 : MAX_LINKS + 1])
    assert first.dropped_links_count == 9
    for other in others:
        assert [(link.trace_id, link.span_id) for link in other.links] == [(first.trace_id, first.span_id)]
    names = [(found.trace_id, found.span_id) for found in received.spans]
    child.end()
    assert [(found.trace_id, found.parent_span_id) for found in received.spans[len(many) :]] == names


def test_queries_that_begin_together_have_spans_of_their_own() -> None:
    received = Received()
    queries = QuerySpans(received, WORK, parents(5), start_ns=1_000)
    described = WORK.described("read", encode_attributes({"client": "here"}))
    queries.end([0, 3], [described, described])
    queries.end([1, 4], [described + encode_failure("OP_FAILED"), WORK.described()])
    queries.span(2).end()
    assert len(received.spans) == 5
    by_name = {(found.trace_id, found.span_id): found for found in received.spans}
    ordered = [by_name[name] for name in queries.names]
    assert [(found.trace_id, found.parent_span_id) for found in ordered] == list(parents(5))
    assert [found.name for found in ordered] == ["read", "read", "work", "read", "work"]
    assert [len(found.attributes) for found in ordered] == [2, 3, 1, 2, 1]
    assert [found.status.code for found in ordered] == [0, Status.STATUS_CODE_ERROR, 0, 0, 0]
    assert not any(found.links for found in ordered)
    assert {found.start_time_unix_nano for found in ordered} == {1_000}


def test_the_first_spans_of_traces_have_no_parent() -> None:
    received = Received()
    traces = Sampler("always_on").new_traces(3)
    QuerySpans(received, WORK, traces).end(range(3), [WORK.described()] * 3)
    assert [(found.trace_id, found.parent_span_id) for found in received.spans] == list(traces)


def test_an_export_is_a_request_of_otlp() -> None:
    sent: list[bytes] = []
    exporter = SpanExporter({"service.name": "db", "n": 5}, lambda message: not sent.append(message), delay_ms=60_000)
    for operation in (WORK, Operation("storage", "other"), WORK):
        Span(exporter, operation, parents(1)).end()
    exporter.stop(5_000)
    (of_resource,) = ExportTraceServiceRequest.FromString(sent[0]).resource_spans
    assert [
        (pair.key, pair.value.string_value or pair.value.int_value) for pair in of_resource.resource.attributes
    ] == [
        ("service.name", "db"),
        ("n", 5),
    ]
    scopes = {of_scope.scope.name: [span.name for span in of_scope.spans] for of_scope in of_resource.scope_spans}
    assert scopes == {"photondb.query": ["work", "work"], "photondb.storage": ["other"]}
    assert (exporter.exported, exporter.failed, exporter.dropped) == (3, 0, 0)


def test_a_collector_that_hangs_or_fails_costs_spans_and_nothing_else() -> None:
    hanging = threading.Event()
    began = threading.Event()

    def send(message: bytes) -> bool:
        began.set()
        hanging.wait(10)
        raise OSError("no collector")

    exporter = SpanExporter({}, send, delay_ms=1)
    Span(exporter, WORK, parents(1)).end()
    assert began.wait(10)
    for _ in range(span_export.MAX_QUEUED_SPANS + 7):
        exporter.put("query", b"", 1)
    assert exporter.dropped == 7
    hanging.set()
    exporter.stop(10_000)
    assert exporter.failed == 1 + span_export.MAX_QUEUED_SPANS
    assert exporter.exported == 0
