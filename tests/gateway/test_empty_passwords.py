"""Accounts without a password, such as `admin` at first: who can reach the server must not be able to use them."""

from __future__ import annotations

import socket
from base64 import b64encode
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from rethinkdb import r
from rethinkdb.errors import ReqlAuthError

from photondb.peers import is_on_this_machine
from services.gateway.handshake import V0_4
from tests.gateway.raw_client import old_handshake
from tests.running_suite import RunningSuite


def other_address() -> str:
    """An address of this machine that is not a loopback one, so that who comes to it comes from it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # which sends nothing
        except OSError:
            pytest.skip("this machine has no network")
        found: str = probe.getsockname()[0]
        return found


def login(host: str, port: int, password: str = "") -> str:
    with r.connect(host, port, password=password) as connection:
        return str(r.expr("in").run(connection))


def old_login(host: str, port: int) -> bytes:
    with socket.create_connection((host, port)) as connection:
        connection.sendall(old_handshake(V0_4))
        return connection.recv(1000)


def metrics_status(host: str, port: int, password: str) -> int:
    basic = b64encode(f"admin:{password}".encode()).decode()
    try:
        with urlopen(Request(f"http://{host}:{port}/_debug", headers={"Authorization": f"Basic {basic}"})) as answer:
            status: int = answer.status
            return status
    except HTTPError as error:
        return error.code


@pytest.mark.parametrize("processes", [False, True])
def test_without_a_password_only_this_machine_is_let_in(tmp_path: Path, processes: bool) -> None:
    here, elsewhere = "127.0.0.1", other_address()
    with RunningSuite(tmp_path / "data", processes=processes, arguments=("--bind", "0.0.0.0")) as suite:
        assert login(here, suite.driver_port) == "in"
        assert old_login(here, suite.driver_port) == b"SUCCESS\0"
        with pytest.raises(ReqlAuthError, match="has no password"):
            login(elsewhere, suite.driver_port)
        assert b"has no password" in old_login(elsewhere, suite.driver_port)
        with r.connect(here, suite.driver_port) as connection:
            r.db("rethinkdb").table("users").get("admin").update({"password": "s"}).run(connection)
        assert login(elsewhere, suite.driver_port, "s") == "in"
        with pytest.raises(ReqlAuthError, match="Wrong password"):
            login(elsewhere, suite.driver_port)


def test_others_can_be_let_in_all_the_same(tmp_path: Path) -> None:
    elsewhere = other_address()
    allowing = {"PHOTONDB_ALLOW_EMPTY_PASSWORDS": "1"}
    with RunningSuite(tmp_path / "data", arguments=("--bind", "0.0.0.0"), environ=allowing) as suite:
        assert login(elsewhere, suite.driver_port) == "in"
        assert metrics_status(elsewhere, suite.http_port, "") == 401  # diagnostics are for who has a password
        assert metrics_status("127.0.0.1", suite.http_port, "") == 200


@pytest.mark.parametrize(
    ("address", "here"),
    [
        *(("127.0.0.1", True), ("127.8.9.10", True), ("::1", True), ("::ffff:127.0.0.1", True)),
        *(("10.0.0.1", False), ("::ffff:10.0.0.1", False), ("fe80::1%eth0", False), ("0.0.0.0", False), ("", False)),
    ],
)
def test_addresses_of_this_machine(address: str, here: bool) -> None:
    assert is_on_this_machine(address) is here
