"""The examination as a whole: what is looked at, in which order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson

from photondb.config import Settings, StartupError
from photondb.doctor import network
from photondb.doctor.advice import advise
from photondb.doctor.findings import Finding
from photondb.doctor.machine import examine_machine
from photondb.telemetry.targets import TARGETS_FILE


def examine(settings: Settings, host: str | None = None) -> Iterator[Finding]:
    """All checks. `host` is where clients reach the suite, by default the address that it is bound to."""
    reached = host or {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.bind, settings.bind)
    shown = f"[{reached}]" if ":" in reached else reached
    base = f"http://{shown}:{settings.http_port}"
    yield network.driver_port(reached, settings.driver_port)
    yield from network.http_port(base)
    yield network.admin_password(base, not network.is_loopback(settings.bind))
    yield from network.processes(_targets(settings.data_dir) or {"photondb": f"{shown}:{settings.http_port}"})
    if settings.nats_url is not None:
        yield from network.nats(settings.nats_url)
    yield from advise(settings)
    yield from examine_machine(settings)


def _targets(data_dir: Path) -> dict[str, str]:
    """Where the metrics of each process are, as the data directory says. Raises StartupError for nonsense."""
    path = data_dir / TARGETS_FILE
    try:
        targets = orjson.loads(path.read_bytes())
        return {target["labels"]["process"]: target["targets"][0] for target in targets}
    except OSError:
        return {}
    except (ValueError, KeyError, TypeError, IndexError):
        raise StartupError(f"{path} is not what PhotonDB writes: remove it, and restart PhotonDB") from None
