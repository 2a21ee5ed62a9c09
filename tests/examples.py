"""How many examples the generated tests try: as many as `make test` has time for, the same ones every time, or, with
`make generated`, many times as many at random. What that finds becomes an example of its own (`hypothesis.example`)."""

from __future__ import annotations

import os

TIMES = int(os.environ.get("PHOTONDB_TEST_EXAMPLES_TIMES", "1"))
REPEATABLE = TIMES == 1
"""A change is not to fail for what was wrong before it."""


def examples(count: int) -> int:
    """So many examples in `make test`, and more in `make generated`."""
    return count * TIMES
