"""`photondb serve` from outside, in one process and with a process for each service."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rethinkdb import r

from tests.running_suite import ENDED, RunningSuite

SERVICES = ("auth", "changefeed", "gateway", "query", "storage")


@pytest.fixture(params=[False, True], ids=["one process", "processes"])
def processes(request: pytest.FixtureRequest) -> bool:
    """Whether each service has a process of its own."""
    return bool(request.param)


@pytest.fixture
def suite(tmp_path: Path, processes: bool) -> Iterator[RunningSuite]:
    with RunningSuite(tmp_path / "data", processes=processes) as running:
        yield running


def serve(processes: bool, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command for a suite that is not going to start."""
    command: list[str | Path] = [Path(sys.prefix, "bin", "photondb"), "serve", *arguments]
    environ = {**os.environ, "PHOTONDB_PROCESSES": str(int(processes))}
    return subprocess.run(command, env=environ, capture_output=True, text=True)


def descendants(pid: int) -> dict[int, str]:
    """The processes below `pid` that are running, each with its command line."""
    found = {}
    for child in map(int, _read_process(pid, f"task/{pid}/children").split()):
        if is_running(child):
            found[child] = _read_process(child, "cmdline").replace("\0", " ").strip()
            found |= descendants(child)
    return found


def _read_process(pid: int, name: str) -> str:
    """What the kernel tells of a process; nothing when it has just ended."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds; the test's own time limit ends a wait in vain."""
    while not condition():
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether the process exists and is not merely waiting for its exit status to be fetched."""
    state = _read_process(pid, "stat").rpartition(")")[2].split()
    return bool(state) and state[0] != "Z"


def answers(suite: RunningSuite) -> bool:
    """Whether a query that touches storage is answered just now."""
    try:
        with r.connect("127.0.0.1", suite.driver_port, timeout=5) as connection:
            r.db("rethinkdb").table("table_config").count().run(connection)
            return True
    except (r.errors.ReqlError, OSError):
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_it_is_asked_to(suite: RunningSuite, processes: bool, number: signal.Signals) -> None:
    below = descendants(suite.pid)
    assert len(below) == (6 if processes else 0), below
    os.kill(suite.pid, number)
    assert suite.stop() in ENDED
    assert not any(is_running(pid) for pid in below)


def test_idle_and_busy_clients_do_not_keep_it(suite: RunningSuite) -> None:
    idle = r.connect("127.0.0.1", suite.driver_port)
    silent = socket.create_connection(("127.0.0.1", suite.driver_port))
    with r.connect("127.0.0.1", suite.driver_port) as connection:
        r.table_create("t").run(connection)
        cursor = r.table("t").changes().run(connection)
        assert suite.stop() in ENDED
        assert cursor is not None
    silent.close()
    idle.close(noreply_wait=False)


def test_what_was_acknowledged_is_there_after_a_restart(suite: RunningSuite) -> None:
    for round_number, end in enumerate([suite.stop, suite.kill]):
        with r.connect("127.0.0.1", suite.driver_port) as connection:
            r.table_create(f"t{round_number}").run(connection)
            r.table(f"t{round_number}").insert([{"id": number} for number in range(100)]).run(connection)
            end()
        suite.start()
    with r.connect("127.0.0.1", suite.driver_port) as connection:
        assert [r.table(name).count().run(connection) for name in ("t0", "t1")] == [100, 100]


def test_nothing_survives_kill_9(suite: RunningSuite) -> None:
    below = descendants(suite.pid)
    suite.kill()
    wait_until(lambda: not any(is_running(pid) for pid in below))


def assert_one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """It did not start, and one line that has all these words says why."""
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("photondb: ")
    assert done.stderr.endswith("\n")
    assert done.stderr.count("\n") == 1
    assert all(word in done.stderr for word in words), done.stderr


def test_a_taken_port_is_one_line(tmp_path: Path, processes: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = serve(processes, "--data-dir", tmp_path / "data", "--driver-port", port, "--http-port", "0")
    assert_one_line(done, "--driver-port", port)


def test_an_unusable_data_directory_is_one_line(tmp_path: Path, processes: bool) -> None:
    path = tmp_path / "file"
    path.touch()
    assert_one_line(serve(processes, "--data-dir", path, "--driver-port", "0", "--http-port", "0"), str(path))


def test_a_data_directory_in_use_is_one_line(suite: RunningSuite, processes: bool) -> None:
    done = serve(processes, "--data-dir", suite.data_dir, "--driver-port", "0", "--http-port", "0")
    assert_one_line(done, str(suite.data_dir), "in use by another process")
    assert answers(suite)


def test_a_service_that_dies_comes_back_and_the_others_find_it(tmp_path: Path) -> None:
    with RunningSuite(tmp_path / "data", processes=True) as suite:
        for service in (*SERVICES, "nats-server"):
            before = descendants(suite.pid)
            program = service if service == "nats-server" else f"-m services.{service}"
            victim = next(pid for pid, command in before.items() if program in command)
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda victim=victim: not is_running(victim))
            wait_until(lambda suite=suite: answers(suite))
            wait_until(lambda suite=suite: len(descendants(suite.pid)) == 6)
            assert set(before) - {victim} < set(descendants(suite.pid))


def test_a_folder_of_the_same_name_is_not_taken_for_the_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "__init__.py").write_text("raise SystemExit('the wrong services')")
    monkeypatch.chdir(tmp_path)
    with RunningSuite(tmp_path / "data", processes=True) as suite:
        assert answers(suite)


@pytest.mark.parametrize("service", [*SERVICES, "front"])
def test_a_service_alone_names_what_it_lacks(service: str, tmp_path: Path) -> None:
    environ = {**os.environ, "PHOTONDB_DATA_DIR": str(tmp_path / "data"), "PHOTONDB_BIND": "no such host"}
    done = subprocess.run([sys.executable, "-m", f"services.{service}"], env=environ, capture_output=True, text=True)
    assert done.returncode == 78
    assert done.stderr == "photondb: PHOTONDB_BIND must be a host name or IP address, not 'no such host'\n"
