"""Samplers record the share that they are told to, by OpenTelemetry's rules."""

from __future__ import annotations

from collections import Counter

import pytest
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

from photondb.config import SamplerName
from photondb.telemetry.sampling import Sampler
from photondb.telemetry.trace_context import RemoteParent, read_traceparent

PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def parent(sampled: bool, trace_id: str = PARENT[0]) -> RemoteParent:
    read = read_traceparent(f"00-{trace_id}-{PARENT[1]}-0{int(sampled)}")
    assert read is not None
    return read


@pytest.mark.parametrize("ratio", [0.01, 0.3, 0.9])
def test_the_share_is_right_however_the_traces_come(ratio: float) -> None:
    """Each query has the same chance, whether it comes alone or with many."""
    sampler = Sampler("traceidratio", ratio)
    sizes = [number * number % 50 for number in range(50_000)]
    chosen: Counter[int] = Counter()
    for size in sizes:
        if sampler.records_next():
            chosen[size] += 1
    for size, times in Counter(sizes).items():
        assert abs(chosen[size] - ratio * times) < 6 * (ratio * (1 - ratio) * times) ** 0.5 + 3  # standard deviations


def test_all_and_none() -> None:
    for sampler in (Sampler("always_on"), Sampler("parentbased_traceidratio", 1.0)):
        assert all(sampler.records_next() for _ in range(1_000))
    for sampler in (Sampler("always_off"), Sampler("traceidratio", 0.0), Sampler("parentbased_always_off")):
        assert not any(sampler.records_next() for _ in range(1_000))


@pytest.mark.parametrize("ratio", [0.001, 0.5, 1.0])
def test_other_programs_with_the_same_ratio_choose_the_same_traces(ratio: float) -> None:
    sampler, other = Sampler("traceidratio", ratio), TraceIdRatioBased(ratio)
    traces = sampler.new_traces(200)
    assert len(set(traces)) == 200
    for trace_id, parent_id in traces:
        assert (len(trace_id), parent_id) == (16, b"")
        assert other.should_sample(None, int.from_bytes(trace_id, "big"), "query").decision.is_sampled()
        assert sampler.follows(parent(False, trace_id.hex()))


@pytest.mark.parametrize(
    ("name", "sampled", "unsampled"),
    [
        ("parentbased_always_on", True, False),
        ("parentbased_always_off", True, False),
        ("parentbased_traceidratio", True, False),
        ("always_on", True, True),
        ("always_off", False, False),
    ],
)
def test_what_becomes_of_a_client_s_trace(name: SamplerName, sampled: bool, unsampled: bool) -> None:
    sampler = Sampler(name, 0.5)
    assert (sampler.follows(parent(True)), sampler.follows(parent(False))) == (sampled, unsampled)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
    ],
)
def test_what_is_no_traceparent_is_ignored(text: str) -> None:
    assert read_traceparent(text) is None


def test_later_versions_may_say_more() -> None:
    assert read_traceparent("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more") == parent(True)
