"""Drivers over TLS."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from rethinkdb import r
from rethinkdb.errors import ReqlDriverError

from photondb.doctor.network import driver_port
from tests.running_suite import RunningSuite

LARGE = 3_000_000
"""Bytes of a document: more than goes through a socket at once."""


def certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, signed by itself, and its key."""
    cert, key = directory / "cert.pem", directory / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


@pytest.mark.parametrize("processes", [False, True])
def test_drivers_are_spoken_to_with_tls_and_nothing_else(tmp_path: Path, processes: bool) -> None:
    cert, key = certificate(tmp_path)
    arguments = ("--driver-tls-cert", str(cert), "--driver-tls-key", str(key))
    with RunningSuite(tmp_path / "data", processes=processes, arguments=arguments) as suite:
        with r.connect("127.0.0.1", suite.driver_port, ssl={"ca_certs": str(cert)}) as connection:
            r.table_create("t").run(connection)
            feed = r.table("t").changes().run(connection)
            r.table("t").insert({"id": 1, "text": "x" * LARGE}).run(connection)
            assert len(next(feed)["new_val"]["text"]) == LARGE
            assert r.table("t").get(1)["text"].count().run(connection) == LARGE
        with pytest.raises(ReqlDriverError):
            r.connect("127.0.0.1", suite.driver_port, timeout=5)
        finding = driver_port("127.0.0.1", suite.driver_port)  # of `photondb doctor`
        assert finding.verdict == "ok"


def test_files_that_will_not_do_are_named(tmp_path: Path) -> None:
    cert, _ = certificate(tmp_path)
    command = [str(Path(sys.prefix, "bin", "photondb")), "serve", "--data-dir", str(tmp_path / "data")]
    command += ["--driver-port", "0", "--http-port", "0", "--driver-tls-cert", str(cert)]
    for more, complaint in (
        ([], "go together"),
        (["--driver-tls-key", str(tmp_path / "none")], "check --driver-tls-cert and --driver-tls-key"),
        (["--driver-tls-key", str(cert)], "check --driver-tls-cert and --driver-tls-key"),
    ):
        done = subprocess.run([*command, *more], capture_output=True, text=True)
        assert (done.returncode, complaint in done.stderr) == (1, True), done.stderr
