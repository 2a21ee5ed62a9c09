"""How many rows a client gets at a time, by the run options about it. Defaults and rules are RethinkDB's
(`batching.cc`)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from photondb.reql.chunk import Chunk
from photondb.reql.errors import logic_error
from photondb.reql.parameters import as_integer, as_number

DEFAULT_MIN_ROWS = 1
DEFAULT_MAX_BYTES = 2**20
DEFAULT_MAX_SECONDS = 0.5
DEFAULT_SCALEDOWN = 4
MAX_MAX_SECONDS = 24 * 3600


class BatchLimits(NamedTuple):
    """A batch ends at its last row; when it has `max_rows`; when it has `max_bytes` and at least `min_rows`; or after
    `max_seconds`, if it has any row then."""

    min_rows: int
    max_rows: int | float
    max_bytes: int
    max_seconds: float

    def scaled_down(self, factor: int) -> BatchLimits:
        """The limits of the first batch, which a client shall have soon."""
        return BatchLimits(
            max(self.min_rows // factor, 1),
            max(self.max_rows // factor, 1),
            max(self.max_bytes // factor, 1),
            self.max_seconds / factor,
        )

    def full(self, rows: int, size: int) -> bool:
        """Whether a batch of so many rows and bytes is full."""
        return rows >= self.max_rows or (size >= self.max_bytes and rows >= self.min_rows)

    def fitting(self, chunk: Chunk, rows: int, size: int) -> int:
        """How many rows of a chunk to add to a batch that has so many rows and bytes and is not full."""
        count = min(len(chunk), self.max_rows - rows)
        if size + chunk.size() < self.max_bytes or rows + count <= self.min_rows:
            return int(count)
        for added, row in enumerate(chunk.rows()[: int(count)], 1):
            size += len(row) + 1
            if self.full(rows + added, size):
                return added
        return int(count)


class Batching(NamedTuple):
    """The limits of a cursor's first batch, and those of the other ones."""

    first: BatchLimits
    others: BatchLimits


def read_batching(options: dict[str, Any]) -> Batching:
    """What run options ask for. Raises ReqlError for values that make no sense."""
    max_rows = _positive(options, "max_batch_rows", math.inf)
    limits = BatchLimits(
        int(min(_positive(options, "min_batch_rows", DEFAULT_MIN_ROWS), max_rows)),
        max_rows,
        int(_positive(options, "max_batch_bytes", DEFAULT_MAX_BYTES)),
        _seconds(options),
    )
    return Batching(
        limits.scaled_down(int(_positive(options, "first_batch_scaledown_factor", DEFAULT_SCALEDOWN))), limits
    )


def _positive(options: dict[str, Any], name: str, default: int | float) -> int | float:
    if name not in options:
        return default
    number = as_integer(options[name])
    if number < 1:
        raise logic_error(f"{name} must be positive (got `{number}`).")
    return number


def _seconds(options: dict[str, Any]) -> float:
    name = "max_batch_seconds"
    if name not in options:
        return DEFAULT_MAX_SECONDS
    seconds = as_number(options[name])
    if seconds >= MAX_MAX_SECONDS:
        raise logic_error(f"{name} is too large (got `{seconds}`, must be less than `{MAX_MAX_SECONDS}`).")
    if seconds < 0:
        raise logic_error(f"{name} must be positive (got `{seconds}`).")
    return float(seconds)


DEFAULT_BATCHING = read_batching({})
