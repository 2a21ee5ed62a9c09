"""How much memory a process and its descendants hold."""

from __future__ import annotations

import os
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def family(pid: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(") ", 1)[1].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        parent = todo.pop()
        found.append(parent)
        todo += children.get(parent, [])
    return found


def resident_bytes(pid: int) -> int:
    """The private resident memory of the process and its descendants, in bytes: memory of their own, without the
    files that the kernel keeps mapped or shares between them."""
    total = 0
    for member in family(pid):
        try:
            resident, shared = Path(f"/proc/{member}/statm").read_text().split()[1:3]
        except OSError:
            continue
        total += (int(resident) - int(shared)) * PAGE_BYTES
    return total
