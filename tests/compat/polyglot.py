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
from pathlib import Path

from tests.running_suite import RunningSuite

ROOT = Path(__file__).resolve().parents[2]
POLYGLOT = ROOT.parent / "shared" / "polyglot"
FLOOR = Path(__file__).with_name("polyglot_floor.txt")


def main() -> int:
    """Exit status: 0 enough passed or there are no tests here, 1 too few passed, 2 they could not run to the end."""
    parser = argparse.ArgumentParser(prog="make polyglot", description="Run RethinkDB's language tests.")
    parser.add_argument("--processes", action="store_true", help="against a suite with a process for each service")
    parser.add_argument("options", nargs="*", metavar="OPTION", help="options of polyglot.py, after --")
    arguments = parser.parse_args()
    if not POLYGLOT.exists():
        print(f"left out: the language tests are not here ({POLYGLOT.relative_to(ROOT.parent)} does not exist)")
        return 0
    with tempfile.TemporaryDirectory(prefix="photondb-polyglot-") as directory:
        report = Path(directory, "report.json")
        with RunningSuite(Path(directory, "data"), processes=arguments.processes) as suite:
            command = [sys.executable, POLYGLOT / "polyglot.py", "--port", str(suite.driver_port)]
            options = ["--json", report, "--fail-under", "0", *arguments.options, POLYGLOT / "tests"]
            status = subprocess.run([*command, *options]).returncode
        if not report.exists():
            return status or 2
        passed = json.loads(report.read_text())["passed"]
    floor = int(FLOOR.read_text())
    print(f"at least {floor} must pass: {'well' if passed >= floor else 'that is too few'}")
    return status or int(passed < floor)


if __name__ == "__main__":
    sys.exit(main())
