"""The pages of the documentation: their links lead somewhere, and the files that they name are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])
LINK = re.compile(r"\]\(<?([^)\s>]+)>?\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
MADE = {"compose/.env"}
"""Files that users make."""

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

FILE = re.compile(r"`((?:photondb|services|tests|docs|compose|deploy|benchmarks|schemas)/[\w./-]+)`")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them, with those that it names itself."""
    text = FENCE.sub("", page.read_text())
    found: set[str] = set(re.findall(r'<a (?:id|name)="([^"]+)"', text))
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = 1
        while slug in found:
            slug = f"{slug.removesuffix(f'-{number - 1}')}-{number}"
            number += 1
        found.add(slug)
    return found


def broken_links(page: Path) -> list[str]:
    """The links of a page that lead nowhere. Those to other sites are not followed."""
    found = []
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            found.append(link)
    return found


def test_there_are_pages() -> None:
    assert len(PAGES) > 10
    assert ROOT / "README.md" in PAGES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_files_that_are_named_are_there(page: Path) -> None:
    named = set(FILE.findall(page.read_text()))
    assert {name for name in named if not (ROOT / name).exists()} <= MADE


def definitions(module: Path) -> set[str]:
    """The functions of a module and the methods of its classes, as `Class.method`."""
    found: set[str] = set()
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, FUNCTIONS)}
        elif isinstance(node, FUNCTIONS):
            found.add(node.name)
    return found


def test_the_way_of_a_query_leads_through_functions_that_are_there() -> None:
    steps = re.findall(r"`([\w.]+)` in `(\w+/[\w/]+\.py)`", (ROOT / "docs/architecture.md").read_text())
    assert len(steps) > 20
    assert [step for step in steps if step[0] not in definitions(ROOT / step[1])] == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One `thing`: two\n[a](#one-thing-two) [b](#three) [c](page.md#one-thing-two) [d](other.md)\n")
    assert broken_links(page) == ["#three", "other.md"]
