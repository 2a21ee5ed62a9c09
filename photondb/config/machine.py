"""What the machine, or the container, gives to a process: defaults go by it."""

from __future__ import annotations

import os
from pathlib import Path


def processors(root: Path = Path("/")) -> int:
    """How many processors this process may keep busy, at least one: those that it may run on, within the time that its
    control group (of either version) has of them."""
    available = len(os.sched_getaffinity(0))
    group = root / "sys/fs/cgroup/cpu"
    words = _words(root / "sys/fs/cgroup/cpu.max") or [
        *_words(group / "cpu.cfs_quota_us"),
        *_words(group / "cpu.cfs_period_us"),
    ]
    if len(words) == 2 and all(word.isdigit() for word in words):  # not "max", nor -1
        available = min(available, int(words[0]) // max(int(words[1]), 1))
    return max(available, 1)


def memory_bytes(root: Path = Path("/")) -> int:
    """The memory that this process may use: the machine's, or the limit of its control group (of either version)."""
    limits = [_first_number(root / "proc/meminfo", "MemTotal:") * 1024]
    for name in ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"):
        limits.append(_first_number(root / name))
    return min((limit for limit in limits if limit), default=1 << 30)


def _first_number(path: Path, after: str = "") -> int:
    """The number that follows a word in a file; 0 when there is none."""
    words = _words(path)
    if after:
        words = words[words.index(after) + 1 :] if after in words else []
    return int(words[0]) if words and words[0].isdigit() else 0


def _words(path: Path) -> list[str]:
    """The words in a file; none where it cannot be read."""
    try:
        return path.read_text().split()
    except OSError:
        return []
