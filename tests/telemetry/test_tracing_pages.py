"""docs/tracing.md, and what docs/operations.md says about logs, are true: their commands are run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import orjson
import pytest

from photondb.config import OPTIONS, SamplerName
from tests.running_suite import RunningSuite
from tests.telemetry.otlp_sink import OtlpSink, otlp_sink

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "tracing.md").read_text()
OPERATIONS = (DOCS / "operations.md").read_text()


@pytest.fixture(scope="module")
def sink() -> Iterator[OtlpSink]:
    with otlp_sink() as sink:
        yield sink


@pytest.fixture(scope="module")
def suite(sink: OtlpSink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    """What the page begins with, on other ports."""
    (command,) = re.findall(r"^photondb serve (.*)$", PAGE, re.MULTILINE)
    flags = shlex.split(command.replace("http://127.0.0.1:4318", sink.endpoint))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        data = tmp_path_factory.mktemp("pages") / "data"
        with RunningSuite(data, processes=False, arguments=tuple(flags)) as suite:
            yield suite


def test_a_query_goes_on_with_the_trace_of_its_client(suite: RunningSuite, sink: OtlpSink) -> None:
    (program,) = re.findall(r"```py\n(.*?)```", PAGE, re.DOTALL)
    program = program.replace("connect()", f"connect(port={suite.driver_port})")
    subprocess.run([sys.executable, "-c", program], check=True)
    sink.wait_for(lambda: any(span.name == "query" for span in sink.spans))
    (root,) = [span for span in sink.spans if span.name == "query"]
    assert f"00-{root.trace_id.hex()}-{root.parent_id.hex()}-01" in program


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_controls_are_changed_as_the_page_says(suite: RunningSuite) -> None:
    commands = re.findall(r"^    (curl .*/_debug/controls)$", OPERATIONS, re.MULTILINE)
    shown = []
    for command in commands:
        line = shlex.split(command.replace(":8080", f":{suite.http_port}").replace("-u admin:", "-s -u admin:"))
        shown.append(orjson.loads(subprocess.run(line, check=True, capture_output=True).stdout))
    assert shown == [
        {"slow_query_ms": 1000, "trace_ratio": 0.01},
        {"slow_query_ms": 50, "trace_ratio": 0.01},
        {"slow_query_ms": 50, "trace_ratio": 0.1},
    ]


def test_all_samplers_are_described() -> None:
    named = set(re.findall(r"`((?:parentbased_)?(?:always_on|always_off|traceidratio))`", PAGE))
    assert named == set(get_args(SamplerName))


def test_the_settings_that_are_named_exist() -> None:
    flags = {option.flag for option in OPTIONS} | {"--processes"}
    assert set(re.findall(r"--[a-z][a-z-]+", PAGE)) <= flags
