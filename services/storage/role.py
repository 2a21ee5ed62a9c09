"""Which of a suite's storage nodes a node is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from photondb.api.storage import StorageApi
from services.storage.catalog_state import HOME


@dataclass(frozen=True)
class NodeRole:
    """The node has this `number` among `count`. `home` is how it reaches node 0, unless it is that node; which reaches
    the `others`, from node 1 on."""

    number: int = HOME
    count: int = 1
    home: StorageApi | None = None
    others: Sequence[StorageApi] = ()


ONLY_NODE = NodeRole()
