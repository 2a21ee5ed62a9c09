"""A storage service as it was with version 1 of the interfaces: it reads nothing of what has come since."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

import orjson

from photondb.api.storage import StorageApi
from photondb.rpc import schema
from photondb.rpc.admission import Admission
from photondb.rpc.servant import Call, servant
from photondb.rpc.storage import SERVICE
from photondb.rpc.storage_servant import StorageHandlers
from tests.rpc.probe import served


class _OldParameters:
    """The parameters of a `write` without what version 1 does not know."""

    def __init__(self, params: Any) -> None:
        self.keys = params.keys
        self.documents = params.documents
        statements = orjson.loads(params.statements)
        for statement in statements:
            statement.pop("constant", None)
        self.statements = orjson.dumps(statements)


class _OldCall:
    def __init__(self, call: Call) -> None:
        self.context = call.context
        self.params = _OldParameters(call.params)
        self._call = call

    @property
    def results(self) -> Any:
        return self._call.results


class OldStorageHandlers(StorageHandlers):
    """Counts what it is asked in each way."""

    version = 1

    def __init__(self, storage: StorageApi) -> None:
        super().__init__(SERVICE, Admission(100), storage)
        self.gets = 0
        self.writes = 0

    async def get(self, call: Call) -> None:
        self.gets += 1
        keys = list(zip(call.params.tables, call.params.keys, strict=True))
        call.results.ok = [document or b"" for document in await self._storage.get(call.context, keys)]

    async def write(self, call: Call) -> None:
        self.writes += 1
        await super().write(_OldCall(call))  # type: ignore[arg-type]


def serving_old(handlers: OldStorageHandlers, address: str) -> AbstractAsyncContextManager[str]:
    """Serve it at an address."""
    return served(servant(schema.STORAGE.Storage, handlers), address)
