"""The examples of docs/planner.md print what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.running_suite import RunningSuite

PAGE = (Path(__file__).parents[2] / "docs" / "planner.md").read_text()


def test_the_examples_print_what_they_say(tmp_path: Path) -> None:
    programs = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    outputs = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    with RunningSuite(tmp_path / "data") as suite:
        program = "".join(programs).replace("28015", str(suite.driver_port))
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("".join(outputs), "")
