"""How the catalogue and changes of it are written: as JSON objects, as schemas/storage.capnp says."""

from __future__ import annotations

import msgspec

from photondb.api.catalogue import Catalogue, CatalogueChange, DatabaseInfo, TableInfo


class _CatalogueMessage(msgspec.Struct):
    """A catalogue without the keys of its dicts, which its entries have in themselves."""

    version: int
    databases: list[DatabaseInfo]
    tables: list[TableInfo]
    node_id: str = ""
    nodes: tuple[str, ...] = ()
    copies: tuple[TableInfo, ...] = ()
    drained: tuple[int, ...] = ()


_decode_catalogue = msgspec.json.Decoder(_CatalogueMessage).decode
_decode_change = msgspec.json.Decoder(CatalogueChange).decode


def write_catalogue(catalogue: Catalogue) -> bytes:
    """A catalogue as JSON."""
    databases, tables = list(catalogue.databases.values()), list(catalogue.tables.values())
    message = _CatalogueMessage(
        catalogue.version,
        databases,
        tables,
        catalogue.node_id,
        catalogue.nodes,
        catalogue.copies,
        catalogue.drained,
    )
    return msgspec.json.encode(message)


def read_catalogue(blob: bytes) -> Catalogue:
    """What `write_catalogue` wrote."""
    message = _decode_catalogue(blob)
    return Catalogue(
        message.version,
        {database.name: database for database in message.databases},
        {(table.database, table.name): table for table in message.tables},
        message.node_id,
        message.nodes,
        message.copies,
        message.drained,
    )


def write_change(change: CatalogueChange) -> bytes:
    """A change as JSON; its member "type" is the name of its class."""
    return msgspec.json.encode(change)


def read_change(blob: bytes) -> CatalogueChange:
    """What `write_change` wrote. Raises msgspec.ValidationError for a change that is not known."""
    change: CatalogueChange = _decode_change(blob)
    return change
