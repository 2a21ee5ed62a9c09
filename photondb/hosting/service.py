"""Run one service as a process of its own: what `python -m services.<name>` does."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from photondb.config import Settings, StartupError
from photondb.hosting.host import Host, hosting
from photondb.hosting.lifetime import until_asked_to_stop
from photondb.hosting.misspelling import warn_of_misspelt_variables
from photondb.hosting.readiness import EXIT_CONFIGURATION, is_supervised
from photondb.rpc.loop import run
from photondb.telemetry.controls import CONTROLS
from photondb.telemetry.logs import configure_logging
from photondb.telemetry.tracing import tracing

log = logging.getLogger(__name__)

Assemble = Callable[[Host], Coroutine[Any, Any, None]]
"""Puts a service together in its process, and says `Host.ready` when it does its work."""


def run_service(name: str, assemble: Assemble) -> int:
    """Run the service with its settings from the environment, until SIGTERM or SIGINT. Returns the exit status.

    0: it was asked to stop. 78: it cannot start until its operator changes something, and one line on standard error
    says what. 1: it failed, and the log says how.
    """
    try:
        settings = Settings.load({})
        if not is_supervised():  # else the supervisor has said it
            warn_of_misspelt_variables()
        name = settings.process_name(name)
        configure_logging(name, settings.log_level, settings.log_format)
        CONTROLS.configure(settings)
        with tracing(name, settings):
            run(until_asked_to_stop(_live(name, settings, assemble)))
    except StartupError as error:
        print(f"photondb: {error}", file=sys.stderr)
        return EXIT_CONFIGURATION
    except Exception:
        log.exception("the service failed")
        return 1
    return 0


async def _live(name: str, settings: Settings, assemble: Assemble) -> None:
    async with hosting(settings, name) as host:
        await assemble(host)
        await asyncio.Event().wait()
