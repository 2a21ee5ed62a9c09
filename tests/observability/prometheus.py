"""Debian's Prometheus, where it is installed: a server that scrapes a suite, and what it answers."""

from __future__ import annotations

import contextlib
import json
import math
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import yaml

SCRAPE_CONFIG = {"job_name": "photondb", "scrape_interval": "1s", "scrape_timeout": "1s"}


class Prometheus:
    """A server at a port of 127.0.0.1."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def is_ready(self) -> bool:
        """Whether it takes queries."""
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self._url}/-/ready") as answer:
            return bool(answer.status == 200)
        return False

    def values(self, expression: str) -> list[float]:
        """What an expression gives now, without what is not a number. Raises AssertionError where it is wrong."""
        query = urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(f"{self._url}/api/v1/query?{query}") as answer:
                result = json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expression}: {error.read().decode()}") from None
        values = [float(series["value"][1]) for series in result]
        return [value for value in values if not math.isnan(value)]


@contextlib.contextmanager
def scraping(targets: Path, directory: Path) -> Iterator[Prometheus]:
    """A Prometheus that scrapes what the file of targets names."""
    directory.mkdir()
    config = directory / "prometheus.yml"
    config.write_text(
        yaml.safe_dump({"scrape_configs": [{**SCRAPE_CONFIG, "file_sd_configs": [{"files": [str(targets)]}]}]})
    )
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory}/data"]
    command.append(f"--web.listen-address=127.0.0.1:{port}")
    with (
        (directory / "log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log) as process,
    ):
        try:
            prometheus = Prometheus(port)
            while not prometheus.is_ready():
                assert process.poll() is None, (directory / "log").read_text()
                time.sleep(0.05)
            yield prometheus
        finally:
            process.terminate()
