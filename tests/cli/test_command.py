from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from photondb.cli.announcement import announce
from photondb.config import OPTIONS, Settings


def photondb(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PHOTONDB_")}
    program = Path(sys.prefix, "bin", "photondb")
    return subprocess.run([program, *arguments], env={**clean, **environ}, capture_output=True, text=True)


def test_version() -> None:
    done = photondb("--version")
    assert (done.returncode, done.stdout) == (0, "photondb 0.1.0\n")


def test_help_names_every_flag_and_variable() -> None:
    done = photondb("serve", "--help")
    assert done.returncode == 0
    for option in OPTIONS:
        assert option.variable in done.stdout
        assert option.flag is None or option.flag in done.stdout
    assert "(default: 28015)" in done.stdout


def test_without_a_command_it_says_what_there_is() -> None:
    done = photondb()
    assert done.returncode == 2
    assert "COMMAND" in done.stderr


def test_a_bad_flag_is_one_line() -> None:
    done = photondb("serve", "--driver-port", "x")
    assert done.returncode == 1
    expected = "photondb: --driver-port must be a port number from 0 (any free port) to 65535, not 'x'\n"
    assert (done.stdout, done.stderr) == ("", expected)


def test_a_bad_variable_is_one_line() -> None:
    done = photondb("serve", PHOTONDB_PROCESSES="perhaps")
    assert (done.returncode, done.stderr) == (1, "photondb: PHOTONDB_PROCESSES must be 1 or 0, not 'perhaps'\n")


def test_the_ready_line(capsys: pytest.CaptureFixture[str]) -> None:
    announce(Settings(), 28015, 8080)
    announce(Settings(bind="::1", data_dir=Path("/var/lib/photondb")), 1, 2)
    announce(Settings(data_dir=Path("../data")), 1, 2)
    assert capsys.readouterr().out.splitlines() == [
        "PhotonDB is ready: drivers on 127.0.0.1:28015, HTTP on 127.0.0.1:8080, data in ./data",
        "PhotonDB is ready: drivers on [::1]:1, HTTP on [::1]:2, data in /var/lib/photondb",
        "PhotonDB is ready: drivers on 127.0.0.1:1, HTTP on 127.0.0.1:2, data in ../data",
    ]
