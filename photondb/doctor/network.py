"""What answers on the ports of a suite."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from urllib.parse import urlsplit

import httpx

from photondb.doctor import figures
from photondb.doctor.figures import Samples
from photondb.doctor.findings import Finding, failure, ok, warning
from photondb.telemetry import catalogue

TIMEOUT_S = 5.0
MOST_CLOCK_DIFFERENCE_S = 2.0
LEAST_NATS_PAYLOAD = 1 << 20

_V1_0 = 0x34C2BDC3
"""`VersionDummy.Version` in RethinkDB's ql2.proto."""


def driver_port(host: str, port: int) -> Finding:
    """Whether a PhotonDB of this release answers drivers."""
    about = f"driver port {host}:{port}"
    try:
        with socket.create_connection((host, port), TIMEOUT_S) as connection:
            greeting = _greeting(connection)
        if not greeting.startswith(b"{"):
            with _with_tls(socket.create_connection((host, port), TIMEOUT_S)) as connection:
                greeting = _greeting(connection)
        server = json.loads(greeting)["server_version"]
    except OSError as error:
        return failure(
            about, f"nothing answers: {error}", "start PhotonDB, or say where it is with --host and --driver-port"
        )
    except (ValueError, KeyError, TypeError):
        return failure(about, "what answers is no database", "say which port it is with --driver-port")
    if not str(server).endswith(f"photondb-{version('photondb')}"):
        return warning(about, f"it is {server}", f"use the command of the same release: this is {version('photondb')}")
    return ok(about, f"it is {server}")


def _greeting(connection: socket.socket) -> bytes:
    """What a driver is greeted with; something else where TLS is expected."""
    # The null ends an empty message. Without it, who expects TLS would wait for the rest of a record's header.
    connection.sendall(_V1_0.to_bytes(4, "little") + b"\0")
    greeting = b""
    while b"\0" not in greeting:
        received = connection.recv(4096)
        if not received:
            break
        greeting += received
    return greeting.partition(b"\0")[0]


def _with_tls(connection: socket.socket) -> socket.socket:
    """TLS with whomever it is: nothing is said that would be a secret."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(connection)


def http_port(base: str) -> Iterator[Finding]:
    """Whether the services can be reached, as the gateway sees it."""
    about = f"HTTP port {base}"
    try:
        response = httpx.get(f"{base}/health/ready", timeout=TIMEOUT_S)
        services: Mapping[str, str] = response.json()["services"]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        message = f"no answer about health: {error or type(error).__name__}"
        yield failure(about, message, "start PhotonDB, or say where it is with --host and --http-port")
        return
    yield ok(about, "it answers")
    for service, state in services.items():
        if state == "ok":
            yield ok(f"{service} service", "the gateway reaches it")
        else:
            yield failure(f"{service} service", state, "see that it runs, and read its log; check its address")
    sent = response.headers.get("date")
    if sent:
        difference = abs(parsedate_to_datetime(sent).timestamp() - time.time())
        if difference > MOST_CLOCK_DIFFERENCE_S:
            yield warning("clocks", f"the server's differs by {difference:.0f} s", "synchronise both machines' clocks")


def admin_password(base: str, open_to_others: bool) -> Finding:
    """Whether `admin` has a password. Asking counts as a login that failed, where it has one."""
    about = "password of admin"
    remedy = 'r.db("rethinkdb").table("users").get("admin").update({"password": "..."})'
    try:
        status = httpx.get(f"{base}/_debug", auth=("admin", ""), timeout=TIMEOUT_S).status_code
    except httpx.HTTPError as error:
        return warning(about, f"it cannot be checked: {error}", "see what is wrong with the HTTP port")
    if status == 401:
        return ok(about, "there is one")
    if status != 200:
        return warning(about, "it cannot be checked: auth does not answer", "see what is wrong with the auth service")
    if open_to_others:
        return failure(about, "there is none, and other machines can reach the ports", remedy)
    return warning(about, "there is none: whoever can log in to this machine can do everything", remedy)


def processes(targets: Mapping[str, str]) -> Iterator[Finding]:
    """The health and the figures of each process, by its name and host:port."""
    versions = {}
    for process, address in targets.items():
        try:
            health = httpx.get(f"http://{address}/health/ready", timeout=TIMEOUT_S)
            samples = figures.read_samples(
                httpx.get(f"http://{address}/_metrics", timeout=TIMEOUT_S).raise_for_status().text
            )
        except (httpx.HTTPError, ValueError) as error:
            message = f"{address} does not answer: {error or type(error).__name__}"
            yield failure(f"{process}: process", message, "see whether it runs, and read its log")
            continue
        wrong = [f"{name}: {state}" for name, state in health.json()["services"].items() if state != "ok"]
        if not wrong:
            yield ok(f"{process}: process", f"{address} is ready")
        else:
            ready = "ready in part" if health.status_code == 200 else "not ready"
            yield failure(f"{process}: process", f"it is {ready}: {'; '.join(wrong)}", "mend what it needs first")
        versions[process] = _version(samples)
        yield from figures.judge(process, samples)
    if len(set(versions.values())) > 1:
        told = ", ".join(f"{process} is {release}" for process, release in versions.items())
        yield failure("releases", f"not all processes are of the same: {told}", "update those that are older")
    elif versions:
        yield ok("releases", f"all processes are {next(iter(versions.values()))}")


def _version(samples: Samples) -> str:
    for labels in samples.get(catalogue.BUILD_INFO.name, {}):
        return dict(labels).get("version", "?")
    return "?"


def nats(url: str) -> Iterator[Finding]:
    """Whether the NATS servers answer."""
    for server in url.split(","):
        parts = urlsplit(server.strip())
        about = f"NATS server {parts.hostname}:{parts.port or 4222}"
        try:
            with socket.create_connection((parts.hostname or "", parts.port or 4222), TIMEOUT_S) as connection:
                line = b""
                while not line.endswith(b"\n") and (received := connection.recv(4096)):
                    line += received
            word, _, rest = line.partition(b" ")
            info = json.loads(rest) if word == b"INFO" else None
        except (OSError, ValueError) as error:
            yield failure(about, f"no answer: {error}", "start it, or check PHOTONDB_NATS_URL: feeds pause until then")
            continue
        if info is None:
            yield failure(about, "what answers is no NATS server", "check PHOTONDB_NATS_URL")
        elif info.get("max_payload", 0) < LEAST_NATS_PAYLOAD:
            message = f"its max_payload is {info.get('max_payload', 0):,} bytes"
            yield warning(
                about, message, "set it to 8MB: larger commits are read from the log instead, which is slower"
            )
        else:
            yield ok(about, f"version {info.get('version', '?')}")


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine only."""
    with contextlib.suppress(OSError):
        return all(
            str(address[0]).startswith("127.") or address[0] == "::1"
            for *_, address in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        )
    return False
