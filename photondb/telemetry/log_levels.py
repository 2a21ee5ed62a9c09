"""Changing at run time what is logged."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from photondb.config import LogLevel

LEVELS: tuple[LogLevel, ...] = ("debug", "info", "warning", "error")
OURS = ("photondb", "services")


def log_levels() -> dict[str, str]:
    """The levels that are set, by logger."""
    loggers = logging.root.manager.loggerDict.items()
    levels = {name: logger.level for name, logger in loggers if isinstance(logger, logging.Logger) and logger.level}
    return {name: logging.getLevelName(level).lower() for name, level in sorted(levels.items())}


def set_log_level(change: Mapping[str, Any]) -> None:
    """Set a `level` of a `logger` of ours, of all of them without one. Raises ValueError, which says what is wrong."""
    level, name = change.get("level"), change.get("logger")
    if level not in LEVELS:
        raise ValueError(f"`level` must be one of {', '.join(LEVELS)}.")
    if name is None:
        for ours in OURS:
            logging.getLogger(ours).setLevel(str(level).upper())
        return
    if not isinstance(name, str) or name.partition(".")[0] not in OURS:
        raise ValueError("`logger` must be `photondb`, `services`, or one of their modules.")
    logging.getLogger(name).setLevel(str(level).upper())
