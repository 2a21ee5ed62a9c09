"""What the tests of the auth service share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from photondb.bus import LocalBus
from services.auth.service import Auth
from services.storage.service import Storage


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    storage = Storage(tmp_path, LocalBus())
    await storage.start()
    yield storage
    await storage.stop()


@pytest.fixture
async def auth(storage: Storage) -> AsyncIterator[Auth]:
    auth = Auth(storage, iterations=10)
    await auth.start()
    yield auth
    await auth.stop()
