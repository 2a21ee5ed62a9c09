"""The examples of docs/transactions.md do what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from services.storage.transactions import DEFAULT_LIMITS
from tests.running_suite import RunningSuite

PAGE = (Path(__file__).parents[2] / "docs" / "transactions.md").read_text()


def test_the_examples_print_what_they_say(tmp_path: Path) -> None:
    programs = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    outputs = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    with RunningSuite(tmp_path / "data") as suite:
        program = "".join(programs).replace("28015", str(suite.driver_port))
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("".join(outputs), "")


def test_the_limits_are_those_that_hold() -> None:
    limits = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE))
    mebibyte = 1 << 20
    assert limits["changed documents in a transaction"] == f"{DEFAULT_LIMITS.max_documents:,}"
    of_one = limits["memory for a transaction's changes, index entries included"]
    assert of_one == f"{DEFAULT_LIMITS.max_bytes // mebibyte} MiB"
    assert (
        limits["memory for the changes of all open transactions"]
        == f"{DEFAULT_LIMITS.max_bytes_of_all // mebibyte} MiB"
    )
    of_one_account = f"of which {DEFAULT_LIMITS.max_open_of_user:,} of one account (`admin` may have all)"
    assert limits["open transactions"] == f"{DEFAULT_LIMITS.max_open:,}, {of_one_account}"
    assert limits["timeout"].startswith(f"{DEFAULT_LIMITS.max_timeout_ms // 1000} seconds")
