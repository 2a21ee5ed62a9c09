"""Which traces are recorded, decided where they begin (head sampling), by OpenTelemetry's names and rules."""

from __future__ import annotations

import math
import struct
from random import getrandbits, random

from photondb.api.context import SpanNames
from photondb.config import SamplerName
from photondb.telemetry.trace_context import RemoteParent

_NEVER = 1 << 62

_pack_id = struct.Struct(">QQ").pack


class Sampler:
    """Decides for all traces at once that begin together, however many these are: so each has the same chance.

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

    def records_next(self) -> bool:
        """Whether the traces that begin together next are recorded, all or none of them."""
        if self._skip:
            self._skip -= 1
            return False
        self._skip = self._gap()
        return True

    def _gap(self) -> int:
        """How many traces are passed over before the next one that is recorded: geometrically distributed."""
        if self.ratio >= 1:
            return 0
        if self.ratio <= 0:
            return _NEVER
        return int(math.log(1.0 - random()) / math.log1p(-self.ratio))

    def new_traces(self, count: int) -> SpanNames:
        """What stands for the parents of the first spans of new traces that are recorded.

        Their ids are such that samplers by ratio in other programs would choose them, too: their rule is that the lower
        half of an id is below the ratio's share of all numbers.
        """
        bound = self._bound
        return tuple([(_pack_id(getrandbits(63) + 1, getrandbits(64) * bound >> 64), b"") for _ in range(count)])

    def follows(self, parent: RemoteParent) -> bool:
        """Whether what a client began elsewhere is recorded here."""
        if self._follows_parent:
            return parent.sampled
        return int.from_bytes(parent.name[0][8:], "big") < self._bound
