"""What a process and its supervisor agree on: how it says that it is ready, and that it cannot start."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from typing import Any

log = logging.getLogger(__name__)

READY_FD_VARIABLE = "PHOTONDB_READY_FD"
"""Names the file descriptor on which a service reports that it is ready: one line, a JSON object of facts."""

EXIT_CONFIGURATION = 78
"""Exit status of a service that cannot start until its operator changes something (EX_CONFIG of sysexits.h)."""


def is_supervised() -> bool:
    """Whether a supervisor waits for this process to be ready."""
    return READY_FD_VARIABLE in os.environ


def report_ready(facts: Mapping[str, Any]) -> None:
    """Tell the supervisor, where there is one, that this process does its work."""
    log.debug("ready", extra=dict(facts))
    descriptor = os.environ.pop(READY_FD_VARIABLE, None)
    if descriptor is not None:
        with os.fdopen(int(descriptor), "w") as pipe:
            pipe.write(json.dumps(dict(facts)) + "\n")
