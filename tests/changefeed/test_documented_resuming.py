"""The examples about feeds, resuming and system tables in docs/changefeeds.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rethinkdb import r

from tests.running_suite import RunningSuite

PAGE = Path(__file__).parents[2] / "docs" / "changefeeds.md"


def test_the_examples_run(tmp_path: Path) -> None:
    part, more, _ = PAGE.read_text().partition("\n## Groups\n")
    assert more
    examples = re.findall(r"```python\n(.*?)```", part, re.DOTALL)
    assert len(examples) == 4
    with RunningSuite(tmp_path, processes=False) as suite, r.connect(port=suite.driver_port) as conn:
        r.table_create("tasks").run(conn)
        names: dict[str, Any] = {"r": r, "conn": conn}
        for example in examples:
            exec(compile(example, PAGE.name, "exec"), names)
