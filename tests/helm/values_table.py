"""The table of values in the chart's README, made from the comments of values.yaml: `python -m tests.helm.values_table`
writes it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "photondb"
README = CHART / "README.md"
MARK = "<!-- written by `make docs` from values.yaml -->\n"


def documented_values() -> dict[str, str]:
    """The meaning of each value that has a comment, by its path."""
    found: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    meaning = ""
    for line in (CHART / "values.yaml").read_text().splitlines():
        comment = re.match(r"\s*# -- (.*)", line)
        key = re.match(r"(\s*)(\w+):", line)
        if comment:
            meaning = comment[1]
        elif key:
            indent = len(key[1])
            path = [part for part in path if part[0] < indent] + [(indent, key[2])]
            if meaning:
                found[".".join(name for _, name in path)] = meaning
            meaning = ""
    return found


def default(path: str) -> Any:
    """The default of a value."""
    value = yaml.safe_load((CHART / "values.yaml").read_text())
    for name in path.split("."):
        value = value[name]
    return value


def page() -> str:
    """The README with the table of today's values."""
    before = README.read_text().partition(MARK)[0]
    rows = [f"| `{path}` | `{json.dumps(default(path))}` | {text} |" for path, text in documented_values().items()]
    return "\n".join([before + MARK, "| value | default | meaning |", "| --- | --- | --- |", *rows, ""])


if __name__ == "__main__":
    README.write_text(page())
