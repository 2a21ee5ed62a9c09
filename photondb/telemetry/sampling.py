"""Which traces are recorded, decided where they begin (head sampling), by OpenTelemetry's names and rules."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from photondb.config import SamplerName
from photondb.telemetry.trace_context import RemoteParent

_NEVER = 1 << 62


class Sampler:
    """Decides for many new traces at a time: between two that are recorded it counts down, however many come.

    `ratio` is the share that is recorded; it is given for the samplers with `traceidratio` in their name.
    """

    def __init__(self, name: SamplerName, ratio: float = 1.0) -> None:
        self._follows_parent = name.startswith("parentbased_")
        kind = name.removeprefix("parentbased_")
        self.set_ratio(1.0 if kind == "always_on" else 0.0 if kind == "always_off" else ratio)

    def set_ratio(self, ratio: float) -> None:
        """Record this share of the traces that begin here from now on."""
        self.ratio = ratio
        self._bound = round(ratio * 2**64)
        self._skip = self._gap()

    def passes_over(self, count: int) -> bool:
        """Whether none of the next `count` new traces is recorded; they are done with then."""
        skip = self._skip - count
        if skip < 0:
            return False
        self._skip = skip
        return True

    def choose(self, count: int) -> Sequence[int]:
        """Which of the next `count` new traces are recorded, as positions from 0."""
        skip = self._skip
        if skip >= count:
            self._skip = skip - count
            return ()
        chosen = []
        while skip < count:
            chosen.append(skip)
            skip += 1 + self._gap()
        self._skip = skip - count
        return chosen

    def _gap(self) -> int:
        """How many traces are passed over before the next one that is recorded: geometrically distributed."""
        if self.ratio >= 1:
            return 0
        if self.ratio <= 0:
            return _NEVER
        return int(math.log(1.0 - random.random()) / math.log1p(-self.ratio))

    def new_trace_id(self) -> bytes:
        """The id of a trace that is recorded. One that samplers by ratio in other programs would choose, too: their
        rule is that the lower half of the id is below the ratio's share of all numbers."""
        lower = random.getrandbits(64) * self._bound >> 64
        return (random.getrandbits(63) + 1 << 64 | lower).to_bytes(16, "big")

    def follows(self, parent: RemoteParent) -> bool:
        """Whether what a client began elsewhere is recorded here."""
        if self._follows_parent:
            return parent.sampled
        return int.from_bytes(parent.name[0][8:], "big") < self._bound
