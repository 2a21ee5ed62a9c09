"""Everything that can be set, with its defaults, and what does not go together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from photondb.config.addresses import CLIENT_SERVICES, DEFAULT_ADDRESSES, OTHER_SERVICES
from photondb.config.errors import StartupError
from photondb.config.options import OPTIONS, Option
from photondb.config.sources import read_values
from photondb.config.values import LogFormat, LogLevel, OtlpProtocol, SamplerName


@dataclass(frozen=True)
class Settings:
    """Everything that can be set. A port of 0 means any free one; a path or address of None means that it is not set.

    A service's address is where it serves the others, `unix:/path` or `tcp:host:port`.
    """

    data_dir: Path = Path("data")
    bind: str = "127.0.0.1"
    driver_port: int = 28015
    http_port: int = 8080
    driver_tls_cert: Path | None = None
    driver_tls_key: Path | None = None
    telemetry_bind: str = "127.0.0.1"
    telemetry_port: int = 0
    nats_url: str | None = None
    processes: bool = False
    fronts: int | None = None
    front_number: int = 1
    share_ports: bool = False
    default_shards: int = 1
    query_address: str | None = None
    storage_address: str | None = None
    storage_addresses: str | None = None
    storage_node: int = 0
    storage_nodes: int = 1
    auth_address: str | None = None
    changefeed_address: str | None = None
    rpc_tls_cert: Path | None = None
    rpc_tls_key: Path | None = None
    rpc_tls_ca: Path | None = None
    log_level: LogLevel = "info"
    log_format: LogFormat = "text"
    slow_query_ms: int = 1_000
    service_name: str = "photondb"
    otlp_endpoint: str | None = None
    otlp_protocol: OtlpProtocol = "http/protobuf"
    traces_sampler: SamplerName = "parentbased_always_on"
    traces_sampler_arg: float = 1.0
    allow_empty_passwords: bool = False
    http_allow_private: bool = False
    max_transaction_seconds: int = 600
    cache_bytes: int | None = None
    column_cache_bytes: int | None = None
    aggregate_bytes: int | None = None
    scan_workers: int | None = None
    busy_poll_us: int | None = None
    mmap_reads: bool = False
    max_document_bytes: int = 16 << 20
    max_cursor_seconds: int = 3600
    max_query_seconds: int = 3600
    max_query_bytes: int | None = None
    max_queries_bytes: int | None = None
    sort_bytes: int | None = None
    spill_dir: Path | None = None
    spill_bytes: int | None = None
    result_cache_bytes: int = 64 << 20
    admin_password: str | None = field(default=None, repr=False)

    @classmethod
    def load(cls, flags: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> Settings:
        """Settings from `flags` (by field name), else from the environment, else the defaults.

        Raises StartupError naming the flag or variable that is wrong. What counts as set: `sources.read_values`.
        """
        settings = cls(**read_values(flags, environ))
        settings._check_combinations()
        return settings

    def _check_combinations(self) -> None:
        if self.driver_port == self.http_port != 0:
            raise StartupError(
                f"--driver-port and --http-port are both {self.http_port}: choose another for one of them"
            )
        if self.fronts is not None and not self.processes:
            raise StartupError("--fronts needs --processes: a suite in one process is its own front")
        if self.storage_nodes > 1 and not self.processes:
            raise StartupError("--storage-nodes needs --processes: one process is one storage node")
        addresses = self.addresses_of_storage()
        if self.processes and self.storage_addresses is not None and len(addresses) != self.storage_nodes:
            raise StartupError(
                f"--storage-nodes is {self.storage_nodes}, and PHOTONDB_STORAGE_ADDRESSES names {len(addresses)}: "
                "name as many, or none"
            )
        if not self.processes and self.storage_node >= len(addresses):
            raise StartupError(
                f"PHOTONDB_STORAGE_NODE is {self.storage_node}, and there are addresses of {len(addresses)} storage "
                "nodes, numbered from 0: name all in PHOTONDB_STORAGE_ADDRESSES, the same for all services"
            )
        if self.processes and self.telemetry_port > 65536 - len(self.process_names()):
            raise StartupError(f"--telemetry-port {self.telemetry_port} leaves no room for the ports of all services")
        if (self.driver_tls_cert is None) != (self.driver_tls_key is None):
            raise StartupError("--driver-tls-cert and --driver-tls-key go together: set both or neither")
        if (self.rpc_tls_cert is None) != (self.rpc_tls_key is None):
            raise StartupError("PHOTONDB_RPC_TLS_CERT and PHOTONDB_RPC_TLS_KEY go together: set both or neither")

    def to_environment(self) -> dict[str, str]:
        """The variables from which `load` makes these settings again, for a child process."""
        environment = {}
        for option in OPTIONS:
            value = getattr(self, option.field)
            if value is not None:
                environment[option.variable] = str(int(value)) if isinstance(value, bool) else str(value)
        return environment

    def address_of(self, service: str) -> str:
        """Where the others find the service `query`, `storage` (its node 0), `auth` or `changefeed`."""
        if service == "storage" and self.storage_addresses is not None:
            return self.addresses_of_storage()[0]
        return getattr(self, f"{service}_address") or DEFAULT_ADDRESSES[service]

    def own_address_of(self, service: str) -> str:
        """Where this process serves the others if it is that service: a storage node at its own address."""
        if service == "storage":
            return self.storage_address or self.addresses_of_storage()[self.storage_node]
        return self.address_of(service)

    def process_names(self) -> tuple[str, ...]:
        """The processes of a suite that has several, in the order of their telemetry ports. Further fronts and storage
        nodes come last, so that the ports of the others do not depend on their number."""
        clients = CLIENT_SERVICES if self.fronts is None else ("front",)
        more_fronts = (f"front-{number}" for number in range(2, (self.fronts or 1) + 1))
        more_nodes = (f"storage-{number}" for number in range(1, self.storage_nodes))
        return (*clients, *OTHER_SERVICES, *more_fronts, *more_nodes)

    def process_name(self, service: str) -> str:
        """What a process that is this service alone is called, among others of its kind."""
        if service == "front" and self.front_number > 1:
            return f"front-{self.front_number}"
        return f"{service}-{self.storage_node}" if service == "storage" and self.storage_node else service

    def addresses_of_storage(self) -> tuple[str, ...]:
        """Where the storage nodes serve the others, by their numbers."""
        if self.storage_addresses is None:
            return (self.storage_address or DEFAULT_ADDRESSES["storage"],)
        return tuple(address.strip() for address in self.storage_addresses.split(","))

    def with_addresses(self, addresses: Mapping[str, str]) -> Settings:
        """These settings with the addresses of services that were not set filled in from `addresses`, by service."""
        missing: dict[str, Any] = {f"{service}_address": address for service, address in addresses.items()}
        return replace(self, **{field: value for field, value in missing.items() if getattr(self, field) is None})


def default_of(option: Option) -> str | None:
    """The default as a help text shows it; None where there is none."""
    value = next(field.default for field in fields(Settings) if field.name == option.field)
    if isinstance(value, bool) or value is None:
        return None
    return f"./{value}" if isinstance(value, Path) else str(value)
