"""What one client may take of the gateway."""

from __future__ import annotations

from dataclasses import dataclass, field

from photondb.config.machine import memory_bytes

MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """The gateway's limits. The defaults of `max_frame_bytes` and `max_outstanding` are RethinkDB's."""

    max_connections: int = 10_000
    """Driver connections at a time; a client beyond it is told so and disconnected."""

    max_frame_bytes: int = 64 * MEGABYTE - 1
    """The longest query; a connection that sends a longer one gets an error and is closed."""

    max_outstanding: int = 1024
    """Queries of one connection that wait for their answer; beyond it the gateway stops reading from the connection."""

    max_outstanding_bytes: int = 128 * MEGABYTE
    """Their size together, likewise."""

    write_high_water_bytes: int = 1 * MEGABYTE
    """Answers that a client has not taken yet; beyond it the gateway stops reading from the connection."""

    max_write_buffer_bytes: int = 512 * MEGABYTE
    """The same, beyond which the connection is dropped at once."""

    max_user_bytes: int = field(default_factory=lambda: max(128 * MEGABYTE, memory_bytes() // 4))
    """What all connections of a user may make the gateway hold together, queries and answers; a connection that goes
    beyond it is closed."""

    stalled_client_timeout_ms: int = 30_000
    """How long a client beyond the high-water mark may take nothing at all before it is dropped."""

    handshake_timeout_ms: int = 30_000
    """From the connection to the end of the handshake. It is longer than the drivers wait (20 seconds): hundreds of
    clients that connect at once need time for their proofs."""

    linger_timeout_ms: int = 5_000
    """How long a connection that ends with an error is kept for the client to read it."""

    query_outage_ms: int = 5_000
    """How long queries wait for a query service that cannot be reached before they get an error."""

    drain_timeout_ms: int = 700
    """How long `stop` waits for answers that are still due. Open changefeeds make it wait for all of it."""

    empty_passwords: bool = False
    """Whether accounts without a password may be used from other machines, too."""
