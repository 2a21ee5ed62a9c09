"""How much processor time a server has used."""

from __future__ import annotations

import os
from pathlib import Path

from tests.process_memory import family


def processor_seconds(pid: int) -> float:
    """What a process and its descendants have used so far, in seconds."""
    ticks = 0
    for member in family(pid):
        fields = Path(f"/proc/{member}/stat").read_text().rsplit(") ", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
