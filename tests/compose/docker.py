"""Docker, where it is usable: why it is not, the image, and a stack of containers."""

from __future__ import annotations

import functools
import json
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")  # its image is nowhere but in a registry
os.environ.setdefault("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1")
os.environ.setdefault("TESTCONTAINERS_CONNECTION_MODE", "docker_host")

from testcontainers.compose import DockerCompose

FOLDER = Path(__file__).parents[2] / "compose"
WHEELS = FOLDER / "wheels"
LOCK = FOLDER.parent / "requirements.lock"
IMAGE = "photondb:test"
BASE_IMAGES = ("python:3.11-slim-bookworm", "photondb-base:bookworm")
SERVICES = ("nats", "storage", "auth", "changefeed", "query", "gateway")
PASSWORD = "correct horse"


def why_not() -> str | None:
    """Why containers cannot be tested here; None where they can."""
    if shutil.which("docker") is None:
        return "there is no docker client"
    if not _output("docker", "info", "-f", "{{.ServerVersion}}")[:1].isdigit():
        return "no Docker daemon answers"
    if base_image() is None:
        return f"none of the base images is there: {', '.join(BASE_IMAGES)} (make compose-test makes one)"
    if not _output("docker", "compose", "version"):
        return "there is no docker compose"
    if WHEELS.is_dir() and (WHEELS / LOCK.name).read_bytes() != LOCK.read_bytes():
        return "the packages in compose/wheels are not those of requirements.lock (make compose-test fetches them)"
    return None


@functools.cache
def base_image() -> str | None:
    """The image to build upon, if there is one."""
    candidates = [os.environ["BASE_IMAGE"]] if os.environ.get("BASE_IMAGE") else BASE_IMAGES
    return next((name for name in candidates if _output("docker", "image", "inspect", "-f", "{{.Id}}", name)), None)


def build_image() -> None:
    """Build PhotonDB's image, of which Docker does only what has changed."""
    arguments = ["--build-arg", f"BASE_IMAGE={base_image()}"]
    if WHEELS.is_dir():
        arguments += ["--build-arg", "PIP_NO_INDEX=1"]
    command = ["docker", "build", "-q", "-f", str(FOLDER / "Dockerfile"), "-t", IMAGE, *arguments, str(FOLDER.parent)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


class Stack:
    """The suite in containers, on free ports. `entrance` is the service that listens for clients."""

    def __init__(self, compose: DockerCompose, entrance: str) -> None:
        self.compose = compose
        self.entrance = entrance

    def run(self, *arguments: str) -> str:
        """Run a command of docker compose, and return what it prints. Raises CalledProcessError."""
        command = [*self.compose.docker_compose_command(), *arguments]
        return subprocess.run(command, cwd=FOLDER, check=True, capture_output=True, text=True).stdout

    def containers(self, service: str) -> list[str]:
        """The ids of the containers of a service that run."""
        return self.run("ps", "-q", service).split()

    def inspect(self, container: str) -> dict[str, Any]:
        """What Docker knows of a container."""
        return json.loads(_output("docker", "inspect", container))[0]

    def ports(self, port: int = 28015) -> list[int]:
        """The ports of this machine behind which `entrance` listens on `port`. They change with a restart."""
        ports = []
        for container in self.containers(self.entrance):
            bound = self.inspect(container)["NetworkSettings"]["Ports"].get(f"{port}/tcp") or []
            ports += [int(binding["HostPort"]) for binding in bound if binding["HostIp"] == "127.0.0.1"]
        return ports

    def kill(self, container: str) -> None:
        """Kill the process in a container with SIGKILL, as the kernel does when memory runs out."""
        before = self.inspect(container)["State"]
        os.kill(before["Pid"], 9)  # `docker kill` would count as a wish that it be stopped
        while self.inspect(container)["State"]["StartedAt"] == before["StartedAt"]:
            time.sleep(0.05)

    def wait_healthy(self, container: str) -> None:
        """Return when the container says that it is healthy."""
        while self.inspect(container)["State"]["Health"]["Status"] != "healthy":
            time.sleep(0.1)


@contextmanager
def running_stack(secrets: Path, *, start: bool = True, files: Sequence[str] = ("compose.yaml",)) -> Iterator[Stack]:
    """A stack of these compose files under a name of its own, which is removed with its data. Needs `build_image`
    before."""
    secrets.mkdir(mode=0o755, exist_ok=True)
    secret = secrets / "admin_password"
    secret.write_text(PASSWORD)
    secret.chmod(0o444)
    environ = {
        "COMPOSE_PROJECT_NAME": f"photondb-test-{uuid.uuid4().hex[:8]}",
        "PHOTONDB_IMAGE": IMAGE,
        "NATS_IMAGE": IMAGE,
        "PHOTONDB_ADMIN_PASSWORD_FILE": str(secret),
        "BASE_IMAGE": base_image() or "",
        "PIP_NO_INDEX": "1" if WHEELS.is_dir() else "",
        "PHOTONDB_DRIVER_PORTS": _free_ports(2),
        "PHOTONDB_HTTP_PORTS": _free_ports(2),
    }
    with ExitStack() as stack:
        before = {name: os.environ.get(name) for name in environ}
        stack.callback(_restore, before)
        os.environ.update(environ)
        compose = DockerCompose(str(FOLDER), list(files), wait=True)
        stack.callback(compose.stop)
        try:
            if start:
                compose.start()
            yield Stack(compose, "front" if "fronts.yaml" in files else "gateway")
        except BaseException:
            print(*compose.get_logs())  # which pytest shows with the failure
            raise


@contextmanager
def prometheus_beside(stack: Stack) -> Iterator[Callable[[str], Any]]:
    """This machine's Prometheus in a container beside the stack's, with the configuration of compose/observability.

    Gives a function that asks its HTTP API.
    """
    program = shutil.which("prometheus")
    network = f"{os.environ['COMPOSE_PROJECT_NAME']}_internal"
    command = ["docker", "run", "--detach", "--network", network, "-v", f"{program}:/usr/bin/prometheus:ro"]
    command += ["-v", f"{FOLDER}/observability:/etc/prometheus:ro", "--entrypoint", "/usr/bin/prometheus", IMAGE]
    command += ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/tmp/prometheus"]
    container = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def ask(path: str) -> Any:
        script = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:9090{path}').read().decode())"
        return json.loads(_output("docker", "exec", container, "python", "-c", script) or "null")

    try:
        while ask("/api/v1/status/buildinfo") is None:
            time.sleep(0.2)
        yield ask
    finally:
        subprocess.run(["docker", "rm", "--force", container], check=True, capture_output=True)


def _restore(environ: dict[str, str | None]) -> None:
    for name, value in environ.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _free_ports(count: int) -> str:
    """A range of ports that nobody listens on, as compose files have it."""
    while True:
        with ExitStack() as stack:
            first = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0)))).getsockname()[1]
            try:
                for port in range(first + 1, first + count):
                    stack.enter_context(closing(socket.create_server(("127.0.0.1", port))))
            except OSError:
                continue
            return f"{first}-{first + count - 1}"


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()
