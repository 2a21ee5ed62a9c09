"""A running suite for the official drivers: once in one process, once with a process for each service."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.running_suite import RunningSuite


@pytest.fixture(scope="module", params=[False, True], ids=["one process", "processes"])
def suite(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    """A suite with an empty data directory, shared by the tests of a module."""
    data_dir = tmp_path_factory.mktemp("suite") / "data"
    with RunningSuite(data_dir, processes=request.param) as running:
        yield running
