"""How a service lives as a process of its own, with small services in real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from photondb.hosting import lifetime

PROGRAM = """
import asyncio, sys, time
from photondb.hosting import lifetime
from photondb.hosting.service import run_service
from photondb.config import StartupError

lifetime.STOP_TIMEOUT_S = {stop_timeout_s}

async def assemble(host):
{body}

sys.exit(run_service("tiny", assemble))
"""
WORK = """
    host.ready({}, http_port=host.settings.http_port)
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.01)
        print("cleaned up", flush=True)
"""
SLOW_END = """
    host.ready({})
    try:
        await asyncio.Event().wait()
    finally:
        print("cleaning up", flush=True)
        await asyncio.sleep(0.2)
        print("cleaned up", flush=True)
"""
HANG = """
    print("working", flush=True)
    host.ready({})
    while True:
        time.sleep(0.01)
"""
STUBBORN = """
    host.ready({})
    print("working", flush=True)
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            print("no", flush=True)
"""


def program(body: str, stop_timeout_s: float = 60) -> list[str]:
    """The command of a service with this body. By default it may take longer to end than others: the machine may be
    busy."""
    return [sys.executable, "-c", PROGRAM.format(body=body, stop_timeout_s=stop_timeout_s)]


def start(body: str, stop_timeout_s: float = 60, **environ: str) -> tuple[subprocess.Popen[str], str]:
    """A service with this body, and what it reported to its supervisor."""
    ours, theirs = os.pipe()
    process = subprocess.Popen(
        program(body, stop_timeout_s),
        env={**os.environ, "PHOTONDB_READY_FD": str(theirs), **environ},
        pass_fds=[theirs],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(theirs)
    with os.fdopen(ours) as pipe:
        return process, pipe.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_works_until_it_is_asked_to_stop_and_then_cleans_up(number: signal.Signals) -> None:
    process, report = start(WORK, PHOTONDB_HTTP_PORT="1234")
    facts = json.loads(report)
    assert facts.pop("telemetry_port") > 0
    assert facts == {"http_port": 1234}
    assert process.poll() is None
    process.send_signal(number)
    output, _ = process.communicate()
    assert (process.returncode, output) == (0, "cleaned up\n")


def test_without_a_supervisor_nobody_is_told() -> None:
    process = subprocess.Popen(
        program("    host.ready({}, port=1)"),
        env={**os.environ, "PHOTONDB_LOG_LEVEL": "debug"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert any("ready port=1" in line for line in process.stderr)
    process.terminate()
    output, _ = process.communicate()
    assert (process.returncode, output) == (0, "")


def test_what_the_operator_must_mend_is_one_line() -> None:
    process, report = start("    raise StartupError('the disk is full: make room')")
    assert report == ""
    output, complaint = process.communicate()
    assert (process.returncode, output, complaint) == (78, "", "photondb: the disk is full: make room\n")


def test_a_bad_setting_is_one_line() -> None:
    process, _ = start(WORK, PHOTONDB_HTTP_PORT="x")
    _, complaint = process.communicate()
    assert process.returncode == 78
    assert complaint.startswith("photondb: PHOTONDB_HTTP_PORT must be a port number")
    assert complaint.count("\n") == 1


def test_misspelt_settings_are_named_and_others_are_left_alone() -> None:
    body = "    raise StartupError('that is all')"
    done = subprocess.run(
        program(body),
        env={**os.environ, "PHOTONDB_CACHE_BYTE": "1", "PHOTONDB_PORT_28015_TCP": "tcp://10.0.0.1:28015"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == (
        "photondb: PHOTONDB_CACHE_BYTE is no setting, and nothing reads it: is it meant to be PHOTONDB_CACHE_BYTES?\n"
        "photondb: that is all\n"
    )
    process, _ = start(body, PHOTONDB_CACHE_BYTE="1")  # its supervisor has said it
    assert process.communicate() == ("", "photondb: that is all\n")


def test_a_crash_is_logged() -> None:
    process, _ = start("    raise ZeroDivisionError", PHOTONDB_LOG_FORMAT="json")
    _, logged = process.communicate()
    assert process.returncode == 1
    line = json.loads(logged)
    assert (line["service"], line["message"]) == ("tiny", "the service failed")
    assert "ZeroDivisionError" in line["error"]


@pytest.mark.parametrize("body", [HANG, STUBBORN])
def test_one_that_does_not_end_is_ended_by_the_kernel(body: str) -> None:
    process, _ = start(body, lifetime.STOP_TIMEOUT_S)
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    process.terminate()
    process.communicate()
    assert process.returncode == -signal.SIGALRM


def test_a_second_request_does_not_disturb_the_first() -> None:
    process, _ = start(SLOW_END)
    process.terminate()
    assert process.stdout is not None
    assert process.stdout.readline() == "cleaning up\n"
    process.terminate()
    output, _ = process.communicate()
    assert (process.returncode, output) == (0, "cleaned up\n")
