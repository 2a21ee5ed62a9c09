"""How much processor time a server has used."""

from __future__ import annotations

import os
from pathlib import Path

from tests.process_memory import family

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
"""What such times are counted in: what seems to have used none has used less than that."""


def processor_seconds(pid: int) -> float:
    """What a process and its descendants have used so far, in seconds."""
    ticks = 0
    for member in family(pid):
        fields = Path(f"/proc/{member}/stat").read_text().rsplit(") ", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks * TICK_S
