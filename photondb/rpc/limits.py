"""The limits of the RPC library that both ends must agree on."""

from __future__ import annotations

MESSAGE_WORDS = 16 * 1024 * 1024
"""The longest message, in words of 8 bytes: 128 MB. It is also how much a reader may traverse of one message."""

NESTING_LEVELS = 64
"""How deep structures may be nested. JSON inside them does not count."""

PIECE_BYTES = 4 * 1024 * 1024
"""What is longer travels in pieces of this size, so that short messages get their turn in between."""

REPLY_BYTES = 32 * 1024 * 1024
"""Where a reply may be cut short and asked for again, it is cut at this size."""

REQUEST_BYTES = 32 * 1024 * 1024
"""Where requests are gathered, no more of them go into one message than have this size together."""

BULK_BYTES = 256 * 1024
"""A request this long goes over the connection for bulk transfers."""
