"""What the suite says on standard output when it is ready."""

from __future__ import annotations

from pathlib import Path

from photondb.config import Settings


def announce(settings: Settings, driver_port: int, http_port: int) -> None:
    """Say on standard output that the suite is ready and where."""
    host = f"[{settings.bind}]" if ":" in settings.bind else settings.bind
    print(
        f"PhotonDB is ready: drivers on {host}:{driver_port}, HTTP on {host}:{http_port}, "
        f"data in {_shown(settings.data_dir)}",
        flush=True,
    )


def _shown(path: Path) -> str:
    return str(path) if path.is_absolute() or path.parts[:1] == ("..",) else f"./{path}"
