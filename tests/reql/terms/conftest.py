from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.reql.database import RunningDatabase


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDatabase]:
    """A database with nothing in it, shared by the tests of a module."""
    with RunningDatabase(tmp_path_factory.mktemp("database") / "data") as running:
        yield running
