from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.outbound.web_server import Pages, serve_pages


@pytest.fixture(scope="module")
def pages() -> Iterator[str]:
    """The URL of a web server."""
    with serve_pages() as url:
        yield url


@pytest.fixture(autouse=True)
def fresh_hits() -> None:
    Pages.hits.clear()
