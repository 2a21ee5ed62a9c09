from __future__ import annotations

import json
import logging
import subprocess
import sys

PROGRAM = """
import logging
from photondb.telemetry.logs import configure_logging
configure_logging("storage", {level!r}, {format!r})
log = logging.getLogger("photondb.test")
log.debug("details")
log.info("listening", extra={{"port": 5, "path": "a b", "level": "spoofed"}})
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
logging.getLogger("library").info("chatter")
logging.getLogger("library").warning("a library's %s", "warning\\nof two lines")
"""


def run(level: str, log_format: str) -> list[str]:
    """The lines that a process with this configuration writes to standard error."""
    program = PROGRAM.format(level=level, format=log_format)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_json_lines_hold_the_fields() -> None:
    lines = [json.loads(line) for line in run("info", "json")]
    assert [(line["level"], line["message"]) for line in lines] == [
        ("info", "listening"),
        ("error", "failed"),
        ("warning", "a library's warning\nof two lines"),
    ]
    assert {line["service"] for line in lines} == {"storage"}
    assert (lines[0]["port"], lines[0]["path"], lines[0]["logger"]) == (5, "a b", "photondb.test")
    assert lines[0]["time"].endswith("Z")
    assert "ZeroDivisionError" in lines[1]["error"]


def test_text_lines_can_be_read_by_people() -> None:
    first, *rest = run("info", "text")
    assert first.split(" ", 1)[1] == "INFO    storage: listening port=5 path='a b' level=spoofed"
    assert rest[0].endswith("ERROR   storage: failed")
    assert "ZeroDivisionError: division by zero" in rest


def test_levels() -> None:
    assert any("details" in line for line in run("debug", "text"))
    assert any("chatter" in line for line in run("debug", "text"))
    assert not any("listening" in line for line in run("warning", "text"))
    assert [json.loads(line)["message"] for line in run("error", "json")] == ["failed"]


def test_a_value_that_json_does_not_know_is_shown_by_its_repr() -> None:
    from photondb.telemetry.logs import JsonFormatter

    record = logging.makeLogRecord(
        {
            "msg": "m",
            "levelname": "INFO",
            "path": {
                1,
            },
        }
    )
    assert json.loads(JsonFormatter("s").format(record))["path"] == "{1}"
