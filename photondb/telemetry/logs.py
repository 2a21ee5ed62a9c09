"""Log records as lines on standard error: readable text, or one JSON object per line for machines.

Code logs with the standard library, `logging.getLogger(__name__).info("listening", extra={"port": port})`, and what
stands in `extra` becomes fields of the line. The message itself stays constant, so that lines can be grouped by it.
The standard library refuses fields named like its own, such as `name`, `process`, `module` or `args`.

Lines that are written while a call is carried out have its request id and its trace. Nothing secret is written: code
that logs never logs documents, and no values of queries; what is left are URLs with a password in them, which other
people's messages quote: these are masked here.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from typing import Any

import orjson

from photondb.api.context import CURRENT
from photondb.config import LogFormat, LogLevel

_CREDENTIALS = re.compile(r"(?<=://)[^/\s@\"']+(?=@)")

_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure_logging(service: str, level: LogLevel, log_format: LogFormat) -> None:
    """Send the log records of this process, marked with the name of the `service`, to standard error.

    Replaces what was configured before. Libraries are held to warnings unless `level` is `debug`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service) if log_format == "json" else TextFormatter(service))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    handler.addFilter(_add_context)
    root.setLevel("WARNING" if level == "info" else level.upper())
    for ours in ("photondb", "services"):
        logging.getLogger(ours).setLevel(level.upper())


def _add_context(record: logging.LogRecord) -> bool:
    """Add what the call is that wrote the record."""
    context = CURRENT.get()
    if context.request_id and not hasattr(record, "request_id"):
        record.request_id = context.request_id
    if context.spans and not hasattr(record, "trace_id"):
        record.trace_id, record.span_id = map(bytes.hex, context.spans[0])
    return True


class JsonFormatter(logging.Formatter):
    """A record as a JSON object: time (RFC 3339, UTC), level, service, logger, message, its fields, and any error."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self.service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "service": self.service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update((name, value) for name, value in _fields(record).items() if name not in line)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return _masked(orjson.dumps(line, default=repr, option=orjson.OPT_NON_STR_KEYS).decode())


class TextFormatter(logging.Formatter):
    """A record as a line of text: time, level, service, message, then its fields as name=value."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self.service = service

    def format(self, record: logging.LogRecord) -> str:
        words = [_timestamp(record), f"{record.levelname:<7}", f"{self.service}:", record.getMessage()]
        words.extend(f"{name}={_readable(value)}" for name, value in _fields(record).items())
        line = " ".join(words)
        return _masked(f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line)


def _masked(line: str) -> str:
    """The line without user names and passwords in URLs."""
    return _CREDENTIALS.sub("***", line) if "://" in line else line


def _timestamp(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD_ATTRIBUTES}


def _readable(value: object) -> str:
    text = str(value)
    return repr(text) if not text.isprintable() or " " in text or not text else text
