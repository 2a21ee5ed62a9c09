"""The `photondb` command: what can be typed, and what it starts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from photondb.cli.backup import add_backup
from photondb.cli.check import add_check
from photondb.cli.doctor import add_doctor
from photondb.cli.repair import add_repair
from photondb.cli.restore import add_restore
from photondb.config import OPTIONS, Settings, StartupError, default_of
from photondb.hosting.lifetime import until_asked_to_stop
from photondb.hosting.misspelling import warn_of_misspelt_variables
from photondb.rpc.loop import run
from photondb.telemetry.controls import CONTROLS
from photondb.telemetry.logs import configure_logging
from photondb.telemetry.tracing import tracing

_VARIABLES_ONLY = [option for option in OPTIONS if option.flag is None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv`, by default the process's arguments. Returns the exit status.

    0: it did what it was asked to. 1: it could not, and standard error says why. 2: it cannot be called like this.
    """
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)  # type: ignore[no-any-return]
    except StartupError as error:
        print(f"photondb: {error}", file=sys.stderr)
        return 1


def _serve(arguments: argparse.Namespace) -> int:
    texts = {option.field: getattr(arguments, option.field) for option in OPTIONS if option.flag is not None}
    settings = Settings.load({field: text for field, text in texts.items() if text is not None})
    warn_of_misspelt_variables()
    # Either way is imported only when it is gone, since one brings all services with it and the other none.
    if settings.processes:
        from photondb.cli.processes import serve_in_processes

        return serve_in_processes(settings)

    from photondb.cli.single import run_single

    configure_logging("photondb", settings.log_level, settings.log_format)
    CONTROLS.configure(settings)
    with tracing("photondb", settings):
        run(until_asked_to_stop(run_single(settings)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="photondb", description="A realtime document database that RethinkDB's drivers can talk to."
    )
    parser.add_argument("--version", action="version", version=f"photondb {version('photondb')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve",
        help="run the database in the foreground",
        description="Run the database in the foreground until Ctrl-C or SIGTERM.",
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.set_defaults(run=_serve)
    for option in OPTIONS:
        if option.flag is None:
            continue
        default = default_of(option)
        details = f"[{option.variable}]" if default is None else f"(default: {default}) [{option.variable}]"
        how: dict[str, Any] = {"action": "store_const", "const": "1"} if option.metavar is None else {}
        if option.metavar is not None:
            how["metavar"] = option.metavar
        serve.add_argument(option.flag, dest=option.field, help=f"{option.help} {details}", **how)
    add_backup(commands)
    add_restore(commands)
    add_check(commands)
    add_repair(commands)
    add_doctor(commands)
    return parser


def _epilog() -> str:
    width = max(len(option.variable) for option in _VARIABLES_ONLY)
    lines = [f"  {option.variable:<{width}}  {option.help}" for option in _VARIABLES_ONLY]
    return "\n".join(
        [
            "Each flag can also be given as the environment variable in brackets; the flag wins.",
            "For --processes, and for services started alone, there are also these variables:",
            *lines,
        ]
    )
