"""What holds for all tests: none of them depends on how fast the machine is, or on chance."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.examples import REPEATABLE, examples

settings.register_profile(
    "any machine",
    deadline=None,
    derandomize=REPEATABLE,
    max_examples=examples(100),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("any machine")
