"""What came of a scan and of each of its steps: for queries that are run to be explained."""

from __future__ import annotations

import msgspec


class StepMeasure(msgspec.Struct):
    """How many rows left a step, and how many seconds it took."""

    rows: int = 0
    seconds: float = 0.0


class ScanMeasures(msgspec.Struct):
    """Figures of one scan so far: documents read, seconds altogether, and each step's. `left_index` says that a short
    cut led to so many documents that the table was read instead."""

    read: int = 0
    seconds: float = 0.0
    left_index: bool = False
    steps: list[StepMeasure] = msgspec.field(default_factory=list)

    @classmethod
    def of_steps(cls, count: int) -> ScanMeasures:
        """Empty figures of a scan with so many steps."""
        return cls(steps=[StepMeasure() for _ in range(count)])

    def note(self, step: int, rows: int, seconds: float) -> None:
        """Add what a step did."""
        measure = self.steps[step]
        measure.rows += rows
        measure.seconds += seconds


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ScanMeasures).decode


def write_measures(measures: ScanMeasures | None) -> bytes:
    """Measures as JSON; nothing where there are none."""
    return b"" if measures is None else _encode(measures)


def read_measures(blob: bytes) -> ScanMeasures | None:
    """What `write_measures` wrote."""
    return _decode(blob) if blob else None
