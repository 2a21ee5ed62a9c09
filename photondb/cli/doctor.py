"""`photondb doctor`: what is wrong with a suite and its machine, and what to do."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

import orjson

from photondb.config import Settings
from photondb.doctor.findings import as_text


def add_doctor(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "doctor",
        help="say what is wrong with a running database and its machine",
        description="Look at a running database and at this machine: ports, services, disk, memory, limits, clock, "
        "certificates, NATS and settings. Each check says what it has found, and what to do. Settings come from the "
        "environment, as those of the server do. Exit status 1 means that something does not work.",
    )
    parser.add_argument("--host", default=None, metavar="HOST", help="where clients reach it (default: --bind's)")
    parser.add_argument("--driver-port", metavar="PORT", help="port for drivers (default: 28015)")
    parser.add_argument("--http-port", metavar="PORT", help="port for HTTP (default: 8080)")
    parser.add_argument("--data-dir", metavar="DIR", help="directory that holds the data (default: ./data)")
    parser.add_argument("--json", action="store_true", help="print the findings as a JSON list")
    parser.set_defaults(run=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    flags = {name: getattr(arguments, name) for name in ("driver_port", "http_port", "data_dir")}
    # Imported only when it is gone, since it brings an HTTP client along.
    from photondb.doctor.examination import examine

    settings = Settings.load({name: text for name, text in flags.items() if text is not None})
    findings = list(examine(settings, arguments.host))
    if arguments.json:
        print(orjson.dumps([dataclasses.asdict(finding) for finding in findings], option=orjson.OPT_INDENT_2).decode())
    else:
        print(as_text(findings))
    return int(any(finding.verdict == "failure" for finding in findings))
