"""What the machine, or the container, gives to a process: defaults go by it."""

from __future__ import annotations

from pathlib import Path


def memory_bytes(root: Path = Path("/")) -> int:
    """The memory that this process may use: the machine's, or the limit of its control group (of either version)."""
    limits = [_first_number(root / "proc/meminfo", "MemTotal:") * 1024]
    for name in ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"):
        limits.append(_first_number(root / name))
    return min((limit for limit in limits if limit), default=1 << 30)


def _first_number(path: Path, after: str = "") -> int:
    """The number that follows a word in a file; 0 when there is none."""
    try:
        words = path.read_text().partition(after)[2].split() if after else path.read_text().split()
    except OSError:
        return 0
    return int(words[0]) if words and words[0].isdigit() else 0
