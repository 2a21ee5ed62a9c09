"""Run one service as a process of its own: what `python -m services.<name>` does."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from photondb.cli.lifetime import until_asked_to_stop
from photondb.cli.misspelling import warn_of_misspelt_variables
from photondb.cli.supervision import EXIT_CONFIGURATION
from photondb.cli.supervisor import READY_FD_VARIABLE
from photondb.config import Settings, StartupError
from photondb.rpc.loop import run
from photondb.telemetry.controls import CONTROLS
from photondb.telemetry.logs import configure_logging
from photondb.telemetry.tracing import tracing

log = logging.getLogger(__name__)

ReportReady = Callable[[Mapping[str, Any]], None]
"""Called by a service, once, when it does its work; with facts for the supervisor, such as the ports it listens on."""

Serve = Callable[[Settings, ReportReady], Coroutine[Any, Any, None]]
"""A service: it starts, reports that it is ready, and works until it is cancelled; then it ends cleanly."""


def run_service(name: str, serve: Serve) -> int:
    """Run the service with its settings from the environment, until SIGTERM or SIGINT. Returns the exit status.

    0: it was asked to stop. 78: it cannot start until its operator changes something, and one line on standard error
    says what. 1: it failed, and the log says how.
    """
    try:
        settings = Settings.load({})
        if READY_FD_VARIABLE not in os.environ:  # else the supervisor has said it
            warn_of_misspelt_variables()
        name = settings.process_name(name)
        configure_logging(name, settings.log_level, settings.log_format)
        CONTROLS.configure(settings)
        with tracing(name, settings):
            run(until_asked_to_stop(serve(settings, report_ready)))
    except StartupError as error:
        print(f"photondb: {error}", file=sys.stderr)
        return EXIT_CONFIGURATION
    except Exception:
        log.exception("the service failed")
        return 1
    return 0


def report_ready(facts: Mapping[str, Any]) -> None:
    """Tell the supervisor, where there is one, that this process does its work."""
    log.debug("ready", extra=dict(facts))
    descriptor = os.environ.pop(READY_FD_VARIABLE, None)
    if descriptor is not None:
        with os.fdopen(int(descriptor), "w") as pipe:
            pipe.write(json.dumps(dict(facts)) + "\n")
