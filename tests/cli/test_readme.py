"""The example in README.md does what README.md says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.running_suite import RunningSuite

README = Path(__file__).parents[2] / "README.md"


def test_the_first_query_prints_what_it_says(tmp_path: Path) -> None:
    blocks = dict(re.findall(r"```(\w+)\n(.*?)```", README.read_text(), re.DOTALL)[:2])
    with RunningSuite(tmp_path / "data") as suite:
        program = blocks["python"].replace("28015", str(suite.driver_port))
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (blocks["text"], "")
