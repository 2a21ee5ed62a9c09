"""The JavaScript driver, where Node and the driver's package can be had."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.running_suite import RunningSuite

SESSION = Path(__file__).with_name("javascript") / "session.js"
DRIVER = "rethinkdb@2.4.2"
INSTALL_TIMEOUT_S = 120


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of modules with the driver in it."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"the JavaScript driver needs {program}, which is not on this machine")
    folder = tmp_path_factory.mktemp("javascript")
    command = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder, DRIVER]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not install {DRIVER} within {INSTALL_TIMEOUT_S} s")
    if done.returncode != 0:
        pytest.skip(f"npm cannot install {DRIVER}: {done.stderr.strip()[-200:]}")
    return folder / "node_modules"


@pytest.mark.timeout(900)
def test_a_session_of_the_javascript_driver(suite: RunningSuite, node_modules: Path) -> None:
    done = subprocess.run(
        ["node", SESSION, str(suite.driver_port)],
        env={**os.environ, "NODE_PATH": str(node_modules)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = re.fullmatch(r"(\d+) checks", done.stdout.strip())
    assert found is not None, done.stdout
    assert int(found[1]) >= 54
