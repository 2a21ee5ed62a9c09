"""Where sinks deliver to: HTTP endpoints and JetStream subjects."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import ssl
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import msgspec
import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client

from photondb.api.catalogue import TableInfo
from photondb.api.context import SpanNames
from photondb.api.feed_records import SinkRecord
from photondb.datum.json import dumps
from photondb.outbound import HttpError, Request, perform
from photondb.outbound.addresses import ALLOW_PRIVATE_VARIABLE, Forbidden, Unresolvable, resolve
from photondb.telemetry.trace_context import TRACEPARENT, write_traceparent

TIMEOUT_S = 30.0
"""How long one request may take, or the acknowledgement of one message."""

NATS_PORT = 4222

SIGNATURE_HEADER = "X-PhotonDB-Signature"
SINK_HEADER = "X-PhotonDB-Sink"


CLOSE_TIMEOUT_S = 2.0


class SinkError(Exception):
    """A delivery failed. It may have arrived all the same."""


class SinkChange(msgspec.Struct, frozen=True):
    """A change to deliver. `id` tells it apart from all others of its table, `notice` is its JSON."""

    id: str
    notice: bytes


class Target(Protocol):
    """What delivers."""

    async def deliver(self, table: TableInfo, changes: Sequence[SinkChange], spans: SpanNames = ()) -> None:
        """Deliver changes in order, and tell the receiver the first of the spans in which this is done. Raises
        SinkError."""
        ...

    async def close(self) -> None:
        """Free connections."""
        ...


def signature(secret: str, body: bytes) -> str:
    """What a receiver compares with the header: the HMAC-SHA256 of the body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


class Webhook:
    """Sends batches to an HTTP endpoint, which accepts one by any status from 200 to 299."""

    def __init__(self, record: SinkRecord) -> None:
        self._record = record

    async def deliver(self, table: TableInfo, changes: Sequence[SinkChange], spans: SpanNames = ()) -> None:
        """POST a batch."""
        about = dumps({"db": table.database, "sink": self._record.id, "table": table.name})
        body = b'%b,"changes":[%b]}' % (about[:-1], b",".join(change.notice for change in changes))
        headers = [("Content-Type", "application/json"), (SINK_HEADER, self._record.id)]
        if spans:
            headers.append((TRACEPARENT, write_traceparent(spans[0])))
        if self._record.secret:
            headers.append((SIGNATURE_HEADER, signature(self._record.secret, body)))
        timeout_ms = int(TIMEOUT_S * 1000)
        request = Request(self._record.url, "POST", headers, body, timeout_ms=timeout_ms, attempts=1, redirects=0)
        try:
            await perform(request)
        except HttpError as error:
            raise SinkError(error.message) from None

    async def close(self) -> None:
        """Nothing is kept open."""


class JetStream:
    """Publishes each change as a message on a subject that a stream stores, and waits for its acknowledgement.

    A message that is sent again has the same `Nats-Msg-Id`, by which JetStream drops it.
    """

    def __init__(self, record: SinkRecord) -> None:
        self._record = record
        self._client: Client | None = None
        self._lost = asyncio.Event()

    async def deliver(self, table: TableInfo, changes: Sequence[SinkChange], spans: SpanNames = ()) -> None:
        """Publish changes, one after the other."""
        try:
            if self._client is None:
                self._lost = asyncio.Event()
                self._client = await _connect(self._record.url, self._lost)
            stream = self._client.jetstream(timeout=TIMEOUT_S)
            for change in changes:
                headers = {"Nats-Msg-Id": f"{table.uuid}-{change.id}", SINK_HEADER: self._record.id}
                if spans:
                    headers[TRACEPARENT] = write_traceparent(spans[0])
                await self._unless_lost(stream.publish(self._record.subject, change.notice, headers=headers))
        except nats.js.errors.NoStreamResponseError:
            await self.close()
            raise SinkError(f"no stream stores the subject `{self._record.subject}`") from None
        except Forbidden as error:
            message = f"the address {error} is not public (the setting {ALLOW_PRIVATE_VARIABLE}=1 allows it)"
            raise SinkError(message) from None
        except Unresolvable:
            raise SinkError("couldn't resolve host name") from None
        except (nats.errors.Error, OSError, TimeoutError) as error:
            await self.close()
            raise SinkError(str(error) or type(error).__name__) from None

    async def _unless_lost(self, publishing: Coroutine[Any, Any, Any]) -> None:
        """Wait for an acknowledgement, but not on a connection that is gone: nats-py would until the time is up."""
        publish = asyncio.ensure_future(publishing)
        lost = asyncio.ensure_future(self._lost.wait())
        try:
            await asyncio.wait({publish, lost}, return_when=asyncio.FIRST_COMPLETED)
            if not publish.done():
                raise nats.errors.ConnectionClosedError
            publish.result()
        finally:
            lost.cancel()
            publish.cancel()

    async def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                # Closing flushes first, which a server that hangs would never let it finish.
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await client.close()


async def _connect(url: str, lost: asyncio.Event) -> Client:
    """Connect to an address of the server that queries may reach, and to no other that the server tells of. `lost` is
    set when the connection ends."""

    async def note_end() -> None:
        lost.set()

    parts = urlsplit(url)
    host = parts.hostname or ""
    options: dict[str, Any] = {}
    if parts.username is not None and parts.password is not None:
        options = {"user": unquote(parts.username), "password": unquote(parts.password)}
    elif parts.username is not None:
        options = {"token": unquote(parts.username)}
    if parts.scheme == "tls":
        options |= {"tls": ssl.create_default_context(), "tls_hostname": host}
    failure: Exception = Unresolvable(host)
    for address in await resolve(host, parts.port or NATS_PORT):
        shown = f"[{address}]" if ":" in address else address
        try:
            return await nats.connect(
                f"{parts.scheme}://{shown}:{parts.port or NATS_PORT}",
                name="photondb-sink",
                allow_reconnect=False,
                connect_timeout=int(TIMEOUT_S),
                error_cb=_ignore,
                closed_cb=note_end,
                **options,
            )
        except (nats.errors.Error, OSError, TimeoutError) as error:
            failure = error
    raise failure


async def _ignore(error: Exception) -> None:
    """What concerns a delivery fails the delivery."""


def target_of(record: SinkRecord) -> Target:
    """What delivers for a sink."""
    return Webhook(record) if record.kind == "webhook" else JetStream(record)
