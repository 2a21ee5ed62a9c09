"""`photondb doctor` says that a healthy suite is well, and finds what is broken on purpose."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rethinkdb import r

from photondb.doctor import figures
from photondb.doctor.figures import Samples
from photondb.doctor.findings import Finding
from tests.running_suite import RunningSuite


def doctor(suite: RunningSuite, *arguments: str, **environ: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Its exit status, and its findings by what they are about."""
    done = subprocess.run(
        [
            *(Path(sys.prefix, "bin", "photondb"), "doctor", "--json", "--data-dir", suite.data_dir),
            *("--driver-port", str(suite.driver_port), "--http-port", str(suite.http_port), *arguments),
        ],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    findings = json.loads(done.stdout)
    assert all(finding["remedy"] for finding in findings if finding["verdict"] != "ok")
    return done.returncode, {finding["about"]: finding for finding in findings}


@pytest.fixture(scope="module", params=[False, True], ids=["one process", "processes"])
def suite(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    with RunningSuite(tmp_path_factory.mktemp("suite") / "data", processes=bool(request.param)) as running:
        yield running


def test_a_healthy_suite(suite: RunningSuite) -> None:
    status, findings = doctor(suite)
    wrong = {about for about, finding in findings.items() if finding["verdict"] == "failure"}
    assert (status, wrong) == (0, set())
    for service in ("query", "auth", "storage"):
        assert findings[f"{service} service"]["verdict"] == "ok"
    processes = {about.removesuffix(": process") for about in findings if about.endswith(": process")}
    assert processes in ({"photondb"}, {"gateway", "query", "storage", "auth", "changefeed"})
    assert findings["password of admin"]["verdict"] == "warning"
    assert findings["data directory"]["verdict"] == "ok"
    for about in ("storage: RocksDB", "storage: disk", "auth: logins", "releases", "settings"):
        assert about in findings


def test_it_is_readable(suite: RunningSuite) -> None:
    command = [Path(sys.prefix, "bin", "photondb"), "doctor", "--data-dir", suite.data_dir]
    command += ["--driver-port", str(suite.driver_port), "--http-port", str(suite.http_port)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert any(line.startswith("warning  password of admin") for line in lines)
    assert any(line.strip().startswith("-> r.db(") for line in lines)
    assert lines[-1].endswith("0 failures")


def test_a_password_of_admin_is_seen(suite: RunningSuite) -> None:
    admin = r.db("rethinkdb").table("users").get("admin")
    with r.connect("127.0.0.1", suite.driver_port) as connection:
        admin.update({"password": "secret"}).run(connection)
        assert doctor(suite)[1]["password of admin"]["verdict"] == "ok"
        admin.update({"password": False}).run(connection)
    assert doctor(suite, "--host", "127.0.0.1", PHOTONDB_BIND="0.0.0.0")[1]["password of admin"]["verdict"] == "failure"


def test_nothing_runs(tmp_path: Path) -> None:
    suite = RunningSuite(tmp_path / "data")
    with socket.create_server(("127.0.0.1", 0)) as free:
        suite.driver_port = suite.http_port = free.getsockname()[1]
    suite.http_port += 0
    done = subprocess.run(
        [
            *(Path(sys.prefix, "bin", "photondb"), "doctor", "--data-dir", tmp_path / "none"),
            *("--driver-port", str(suite.driver_port), "--http-port", "1"),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "nothing answers" in done.stdout
    assert "no answer about health" in done.stdout
    assert "No such file or directory" in done.stdout


def test_what_answers_is_something_else(suite: RunningSuite) -> None:
    _, findings = doctor(suite, "--driver-port", str(suite.http_port), "--http-port", str(suite.driver_port))
    assert findings[f"driver port 127.0.0.1:{suite.http_port}"]["verdict"] == "failure"
    assert findings[f"HTTP port http://127.0.0.1:{suite.driver_port}"]["verdict"] == "failure"


def test_a_service_that_hangs(tmp_path: Path) -> None:
    with RunningSuite(tmp_path / "data", processes=True) as suite:
        children = Path(f"/proc/{suite.pid}/task/{suite.pid}/children").read_text().split()
        storage = next(int(pid) for pid in children if "services.storage" in Path(f"/proc/{pid}/cmdline").read_text())
        os.kill(storage, signal.SIGSTOP)
        try:
            status, findings = doctor(suite)
        finally:
            os.kill(storage, signal.SIGCONT)
    assert status == 1
    assert findings["storage service"]["verdict"] == "failure"
    assert findings["storage: process"]["verdict"] == "failure"
    assert "storage" in findings["query: process"]["message"]
    assert findings["auth service"]["verdict"] == "ok"


def test_settings_that_are_unwise(suite: RunningSuite, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.close()
        status, findings = doctor(
            suite,
            PHOTONDB_NATS_URL="nats://127.0.0.1:1",
            PHOTONDB_TELEMETRY_BIND="0.0.0.0",
            PHOTONDB_HTTP_ALLOW_PRIVATE="1",
            PHOTONDB_LOG_LEVEL="debug",
            PHOTONDB_STORAGE_ADDRESS="tcp:203.0.113.7:28102",
            PHOTONDB_CACHE_BYTES=str(1 << 50),
        )
    assert status == 1
    assert findings["NATS server 127.0.0.1:1"]["verdict"] == "failure"
    for about in ("telemetry ports", "r.http", "logs", "storage address", "memory"):
        assert findings[about]["verdict"] == "warning", about


def test_a_server_that_is_not_nats(suite: RunningSuite) -> None:
    def answer(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        connection.sendall(b"SSH-2.0\r\n")
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=answer, args=(listening,), daemon=True).start()
        port = listening.getsockname()[1]
        _, findings = doctor(suite, PHOTONDB_NATS_URL=f"nats://127.0.0.1:{port}")
    assert "no NATS server" in findings[f"NATS server 127.0.0.1:{port}"]["message"]


def test_permissions_of_the_data_directory(suite: RunningSuite) -> None:
    for mode, verdict in ((0o755, "warning"), (0o777, "failure"), (0o700, "ok")):
        suite.data_dir.chmod(mode)
        assert doctor(suite)[1]["data directory"]["verdict"] == verdict


def make_certificate(directory: Path, days: int) -> tuple[Path, Path]:
    cert, key = directory / "cert.pem", directory / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", str(days), "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


def test_certificates(suite: RunningSuite, tmp_path: Path) -> None:
    def seen(cert: Path, key: Path) -> tuple[str, str]:
        _, findings = doctor(suite, PHOTONDB_RPC_TLS_CERT=str(cert), PHOTONDB_RPC_TLS_KEY=str(key))
        return findings[f"certificate {cert}"]["verdict"], findings[f"private key {key}"]["verdict"]

    cert, key = make_certificate(tmp_path, 365)
    key.chmod(0o600)
    assert seen(cert, key) == ("ok", "ok")
    key.chmod(0o644)
    assert seen(cert, key) == ("ok", "failure")
    (tmp_path / "other").mkdir()
    soon, other_key = make_certificate(tmp_path / "other", 5)
    assert seen(soon, other_key)[0] == "warning"
    assert seen(cert, other_key)[1] == "failure"
    assert seen(tmp_path / "none.pem", key) == ("failure", "failure")


def test_a_file_of_targets_that_is_nonsense(tmp_path: Path) -> None:
    (tmp_path / "telemetry.json").write_text("{}{")
    command = [Path(sys.prefix, "bin", "photondb"), "doctor", "--data-dir", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "telemetry.json" in done.stderr


# --- what cannot be broken on purpose, by the numbers that it would have


@pytest.fixture(scope="module")
def page(suite: RunningSuite) -> Samples:
    """The numbers of all processes of a healthy suite."""
    import httpx

    targets = json.loads((suite.data_dir / "telemetry.json").read_text())
    samples: dict[str, Any] = {}
    for target in targets:
        url = f"http://{target['targets'][0]}/_metrics"
        for name, values in figures.read_samples(httpx.get(url).text).items():
            samples.setdefault(name, {}).update(values)
    return samples


def judged(samples: Samples) -> dict[str, Finding]:
    return {finding.about: finding for finding in figures.judge("p", samples)}


Break = Callable[[dict[str, float]], None]


@pytest.mark.parametrize(
    ("metric", "value", "about", "verdict"),
    [
        ("photondb_process_open_fds", 1e9, "p: file descriptors", "failure"),
        ("photondb_storage_indexes_outdated", 2, "storage: indexes", "warning"),
        ("photondb_process_max_fds", 200, "p: file descriptors", "warning"),
        ("photondb_process_resident_memory_bytes", 1e15, "p: memory", "warning"),
        ("photondb_event_loop_lag_seconds_count", 1e9, "p: event loop", "warning"),
        ("photondb_bus_connected", 0, "p: bus", "failure"),
        ("photondb_disk_free_bytes", 1, "storage: disk", "failure"),
        ("photondb_rocksdb_background_errors", 1, "storage: RocksDB", "failure"),
        ("photondb_rocksdb_writes_stopped", 1, "storage: RocksDB", "failure"),
        ("photondb_rocksdb_delayed_write_rate_bytes", 1, "storage: RocksDB", "warning"),
        ("photondb_rocksdb_compaction_pending_bytes", 1e12, "storage: RocksDB", "warning"),
        ("photondb_wal_sync_failures_total", 1, "storage: write-ahead log", "failure"),
        ("photondb_wal_sync_duration_seconds_sum", 1e9, "storage: write-ahead log", "warning"),
        ("photondb_auth_logins_total", 1000, "auth: logins", "warning"),
        ("photondb_log_records_total", 3, "p: log", "warning"),
    ],
)
def test_numbers_that_are_wrong(page: Samples, metric: str, value: float, about: str, verdict: str) -> None:
    assert metric in page
    broken = {**page, metric: dict.fromkeys(page[metric], value)}
    assert judged(broken)[about].verdict == verdict
    assert judged(broken)[about].remedy
