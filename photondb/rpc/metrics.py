"""The connections of a process to other services, and theirs to it."""

from __future__ import annotations

from typing import Any

from photondb.rpc.client import CLIENTS
from photondb.rpc.connect import PEERS
from photondb.rpc.remote import CALLS_IN_FLIGHT
from photondb.rpc.serve import SERVERS
from photondb.telemetry import catalogue
from photondb.telemetry.debug import Report
from photondb.telemetry.scrape import Scrape


class RpcMetrics:
    """All RPC connections of this process, which is called `service` in its metrics."""

    def __init__(self, service: str) -> None:
        self._service = service

    def collect(self, scrape: Scrape) -> None:
        """Write the numbers into a reading."""
        service = self._service
        for peer, counters in PEERS.items():
            scrape.add(catalogue.RPC_CONNECTS, counters.connects, service, peer)
            scrape.add(catalogue.RPC_RECONNECTS, counters.reconnects, service, peer)
            scrape.add(catalogue.RPC_CONNECT_FAILURES, counters.failures, service, peer)
        for client in list(CLIENTS):
            for link in client.links:
                scrape.add(catalogue.RPC_CONNECTED, link.connection is not None, service, client.service)
                scrape.add(catalogue.RPC_WAITING, link.waiting, service, client.service)
        for peer, calls in CALLS_IN_FLIGHT.items():
            scrape.add(catalogue.RPC_CALLS, calls, service, peer)
        for server in list(SERVERS):
            scrape.add(catalogue.RPC_SERVER_CONNECTIONS, server.connections, service)
        for admission in {server.admission for server in list(SERVERS)}:
            scrape.add(catalogue.RPC_SERVER_CALLS, admission.in_flight, service)
            scrape.add(catalogue.RPC_REFUSED, admission.refused, service)

    def reports(self) -> dict[str, Report]:
        """What can be said about the connections."""
        return {"rpc": self._report}

    def _report(self) -> dict[str, Any]:
        return {
            "to": [
                {
                    "service": client.service,
                    "addresses": link.addresses,
                    "instance": None if link.instance is None else str(link.instance),
                    "for": purpose,
                    "connected": link.connection is not None,
                    "problem": link.problem if link.connection is None else "",
                    "waiting_calls": link.waiting,
                }
                for client in list(CLIENTS)
                for purpose, link in zip(("calls", "bulk transfers"), client.links, strict=True)
            ],
            "from": [
                {
                    "addresses": server.addresses,
                    "connections": server.connections,
                    "calls_in_flight": server.admission.in_flight,
                    "calls_at_most": server.admission.limit,
                    "refused": server.admission.refused,
                }
                for server in list(SERVERS)
            ],
            "calls_in_flight": dict(CALLS_IN_FLIGHT),
        }
