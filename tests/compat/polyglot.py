"""Run RethinkDB's language tests against a suite of our own: `make polyglot`.

The tests and their runner lie beside this project, in ../shared/polyglot; without them there is nothing to do. At least
as many tests as `polyglot_floor.txt` says must pass, so that no change loses what was won before.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.running_suite import RunningSuite

ROOT = Path(__file__).resolve().parents[2]
POLYGLOT = ROOT.parent / "shared" / "polyglot"
FLOOR = Path(__file__).with_name("polyglot_floor.txt")

NOT_FOR_SPREAD_TABLES = 8
"""So many tests are about tables on one server: 7 expect one estimate of the documents, and one that something changes
when a table becomes one of three shards, as many as it has already."""


def floor(storage_nodes: int = 1) -> int:
    """How many tests must pass."""
    return int(FLOOR.read_text()) - (NOT_FOR_SPREAD_TABLES if storage_nodes > 1 else 0)


def run(directory: Path, *, processes: bool, storage_nodes: int = 1, options: Sequence[str] = ()) -> int:
    """Run the tests, `directory` being for data and the report. With several storage nodes each table is spread over
    all of them. Returns how many passed; raises RuntimeError when they did not run to the end."""
    report = directory / "report.json"
    spread = ("--storage-nodes", str(storage_nodes), "--default-shards", str(storage_nodes))
    arguments = spread if storage_nodes > 1 else ()
    with RunningSuite(directory / "data", processes=processes or storage_nodes > 1, arguments=arguments) as suite:
        command = [sys.executable, POLYGLOT / "polyglot.py", "--port", str(suite.driver_port)]
        status = subprocess.run(
            [*command, "--json", report, "--fail-under", "0", *options, POLYGLOT / "tests"]
        ).returncode
    if status != 0 or not report.exists():
        raise RuntimeError(f"the language tests ended with exit status {status}")
    passed: int = json.loads(report.read_text())["passed"]
    return passed


def main() -> int:
    """Exit status: 0 enough passed or there are no tests here, 1 too few passed, 2 they could not run to the end."""
    parser = argparse.ArgumentParser(prog="make polyglot", description="Run RethinkDB's language tests.")
    parser.add_argument("--processes", action="store_true", help="against a suite with a process for each service")
    parser.add_argument(
        "--storage-nodes", type=int, default=1, metavar="COUNT", help="the same, with tables spread over so many nodes"
    )
    parser.add_argument("options", nargs="*", metavar="OPTION", help="options of polyglot.py, after --")
    arguments = parser.parse_args()
    if not POLYGLOT.exists():
        print(f"left out: the language tests are not here ({POLYGLOT.relative_to(ROOT.parent)} does not exist)")
        return 0
    with tempfile.TemporaryDirectory(prefix="photondb-polyglot-") as directory:
        try:
            passed = run(
                Path(directory),
                processes=arguments.processes,
                storage_nodes=arguments.storage_nodes,
                options=arguments.options,
            )
        except RuntimeError as error:
            print(error)
            return 2
    least = floor(arguments.storage_nodes)
    print(f"at least {least} must pass: {'well' if passed >= least else 'that is too few'}")
    return int(passed < least)


if __name__ == "__main__":
    sys.exit(main())
