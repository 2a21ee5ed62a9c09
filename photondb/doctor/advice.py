"""Settings that work and are unwise."""

from __future__ import annotations

from collections.abc import Iterator

from photondb.address import parse_addresses
from photondb.config import DEFAULT_ADDRESSES, Settings
from photondb.doctor.findings import Finding, ok, warning
from photondb.doctor.network import is_loopback


def advise(settings: Settings) -> Iterator[Finding]:
    """What could be said against these settings; when there is nothing, that."""
    found = list(_warnings(settings))
    yield from found or [ok("settings", "nothing is to be said against them")]


def _warnings(settings: Settings) -> Iterator[Finding]:
    if not is_loopback(settings.telemetry_bind):
        yield warning(
            "telemetry ports",
            f"they are bound to {settings.telemetry_bind}, and tell everybody the names of tables",
            "see that only who scrapes them can reach them (a firewall, a NetworkPolicy), or bind them to 127.0.0.1",
        )
    if settings.http_allow_private:
        yield warning(
            "r.http",
            "queries and sinks may reach addresses of this machine and its networks",
            "unset PHOTONDB_HTTP_ALLOW_PRIVATE, unless all who may query are trusted with that",
        )
    if settings.log_level == "debug":
        yield warning("logs", "the log level is debug, which slows everything down", "set --log-level info")
    for service in DEFAULT_ADDRESSES:
        given = ",".join(settings.addresses_of_storage()) if service == "storage" else settings.address_of(service)
        for address in parse_addresses(given):
            if address.path is None and not is_loopback(address.host) and settings.rpc_tls_ca is None:
                yield warning(
                    f"{service} address",
                    f"calls to {address} are neither encrypted nor authenticated",
                    "set PHOTONDB_RPC_TLS_CERT, PHOTONDB_RPC_TLS_KEY and PHOTONDB_RPC_TLS_CA on all services",
                )
