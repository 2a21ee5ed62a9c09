"""Which part of the project may import which: docs/architecture.md says why."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SERVICES = ("auth", "changefeed", "gateway", "query", "storage")
NEIGHBOURS = {"services.front": {"services.gateway", "services.query"}}
"""Which other services a service may import."""

FOUNDATIONS: dict[str, set[str]] = {
    "photondb.release": set(),
    "photondb.ports": set(),
    "photondb.child_process": set(),
    "photondb.client": set(),
    "photondb.peers": set(),
    "photondb.local_addresses": set(),
    "photondb.datum": set(),
    "photondb.geo": {"photondb.datum"},
    "photondb.outbound": set(),
    "photondb.javascript": set(),
    "photondb.address": set(),
    "photondb.config": {"photondb.address"},
    "photondb.api": {"photondb.datum", "photondb.reql"},  # interfaces are about steps, functions and errors of queries
    "photondb.telemetry": {
        "photondb.api",
        "photondb.config",
        "photondb.peers",
        "photondb.release",
        "photondb.reql.errors",
        "photondb.reql.memory",
        "photondb.reql.suspend",
    },
    "photondb.bus": {
        "photondb.child_process",
        "photondb.config",
        "photondb.ports",
        "photondb.telemetry.catalogue",
        "photondb.telemetry.scrape",
    },
}
"""What stands on nothing, or on little, of the project, and on what."""


def modules() -> dict[str, Path]:
    """All modules of the project by name; a package is its `__init__`."""
    paths = [path for package in ("photondb", "services") for path in (ROOT / package).rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


MODULES = modules()


def imports(module: str, *, at_start: bool) -> set[str]:
    """The modules of the project that one imports: with `at_start`, only those that it needs to be imported itself."""
    return {found for found in _imported(ast.parse(MODULES[module].read_text()), at_start) if found in MODULES}


def _imported(node: ast.AST, at_start: bool) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if at_start and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if at_start and isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            assert child.module is not None
            names = [f"{child.module}.{alias.name}" for alias in child.names]
            yield from (name if name in MODULES else child.module for name in names)
        else:
            yield from _imported(child, at_start)


def within(package: str) -> list[str]:
    return [name for name in MODULES if name == package or name.startswith(f"{package}.")]


def imported_by(package: str) -> set[tuple[str, str]]:
    """What a package imports from outside itself, by the module that does."""
    own = set(within(package))
    assert own, package
    return {(module, found) for module in own for found in imports(module, at_start=False) - own}


def test_the_library_does_not_know_the_services_but_its_commands_do() -> None:
    wrong = {
        pair
        for module in within("photondb")
        if not module.startswith("photondb.cli.")
        for pair in ((module, found) for found in imports(module, at_start=False))
        if pair[1].startswith(("services.", "photondb.cli."))
    }
    assert wrong == set()
    assert ("photondb.cli.single", "services.gateway.service") in imported_by("photondb.cli"), "the test sees nothing"


@pytest.mark.parametrize("service", [*SERVICES, "front"])
def test_services_know_neither_each_other_nor_the_commands_nor_what_hosts_them(service: str) -> None:
    package = f"services.{service}"
    imported = imported_by(package)
    found = {".".join(name.split(".")[:2]) for _, name in imported}
    assert {name for name in found if name.startswith("services.")} == NEIGHBOURS.get(package, set())
    assert "photondb.cli" not in found
    assert {module for module, name in imported if name.startswith("photondb.hosting.")} == {f"{package}.__main__"}


@pytest.mark.parametrize("package", FOUNDATIONS)
def test_foundations_stand_on_nothing_else(package: str) -> None:
    allowed = tuple(f"{name}." for name in FOUNDATIONS[package])
    wrong = {pair for pair in imported_by(package) if not f"{pair[1]}.".startswith(allowed)}
    assert wrong == set()


@pytest.mark.parametrize("service", ["gateway", "auth"])
def test_who_needs_no_documents_does_not_know_how_queries_run(service: str) -> None:
    """The gateway never looks into a query, and auth asks storage for documents."""
    language = {found for _, found in imported_by(f"services.{service}") if found.startswith("photondb.reql.")}
    assert language == {"photondb.reql.errors"}


def test_no_modules_need_each_other_to_be_imported() -> None:
    try:
        TopologicalSorter({module: imports(module, at_start=True) for module in MODULES}).prepare()
    except CycleError as error:
        pytest.fail(f"these import each other: {' -> '.join(error.args[1])}")
