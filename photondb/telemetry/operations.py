"""The operations that traces are made of, with the names of OpenTelemetry's conventions for databases, RPC and
messaging (https://opentelemetry.io/docs/specs/semconv/)."""

from __future__ import annotations

import functools

from photondb.telemetry.spans import Operation, SpanKind

_DATABASE = {"db.system.name": "photondb"}
_MESSAGING = {"messaging.system": "nats", "messaging.destination.template": "photondb.changes.<table>.<shard>"}

# The way of a query: the gateway's span is from its arrival to its answer.
QUERY = Operation("gateway", "query", SpanKind.SERVER, _DATABASE)
HTTP_REQUEST = Operation("gateway", "HTTP", SpanKind.SERVER)
RUN = Operation("query", "run", attributes=_DATABASE)
PLAN = Operation("query", "plan")
COMPILE = Operation("query", "compile")
STEP = Operation("query", "step")

# Storage: what a call reads or writes, the batch that it goes into, and the wait for the disk.
READ = Operation("storage", "read documents")
SCAN = Operation("storage", "scan")
SCAN_PART = Operation("storage", "scan by worker")
WRITE = Operation("storage", "write documents")
COMMIT = Operation("storage", "commit")
COMMIT_TRANSACTION = Operation("storage", "commit transaction")
SYNC = Operation("storage", "sync write-ahead log")

# The bus and the feeds.
PUBLISH = Operation(
    "storage", "send photondb.changes", SpanKind.PRODUCER, {**_MESSAGING, "messaging.operation.type": "send"}
)
RECEIVE = Operation(
    "changefeed", "process photondb.changes", SpanKind.CONSUMER, {**_MESSAGING, "messaging.operation.type": "process"}
)
DELIVER = Operation("changefeed", "deliver changes")
DELIVER_TO_SINK = Operation(
    "changefeed", "deliver changes to sink", SpanKind.PRODUCER, {"messaging.operation.type": "send"}
)


@functools.cache
def rpc_operation(kind: SpanKind, service: str, method: str) -> Operation:
    """A call of a service's method, as its caller (CLIENT) or the service itself (SERVER) sees it."""
    scope = "rpc.client" if kind is SpanKind.CLIENT else service
    return Operation(
        scope,
        f"photondb.{service}/{method}",
        kind,
        {"rpc.system": "capnproto", "rpc.service": f"photondb.{service}", "rpc.method": method},
    )
