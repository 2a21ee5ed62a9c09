"""What the doctor finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "failure"]


@dataclass(frozen=True)
class Finding:
    """What became of one check. `about` names what was looked at, and where something is wrong, `remedy` says what to
    do."""

    verdict: Verdict
    about: str
    message: str
    remedy: str = ""


def ok(about: str, message: str) -> Finding:
    """All is well."""
    return Finding("ok", about, message)


def warning(about: str, message: str, remedy: str) -> Finding:
    """It works, and will not always."""
    return Finding("warning", about, message, remedy)


def failure(about: str, message: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding("failure", about, message, remedy)


def as_text(findings: Sequence[Finding]) -> str:
    """The findings for people, one paragraph each, and a line that sums them up."""
    width = max((len(finding.about) for finding in findings), default=0)
    lines = []
    for finding in findings:
        lines.append(f"{finding.verdict:<8} {finding.about:<{width}}  {finding.message}")
        if finding.remedy:
            lines.append(f"{'':<8} {'':<{width}}  -> {finding.remedy}")
    counts = {word: sum(finding.verdict == word for finding in findings) for word in ("ok", "warning", "failure")}
    lines.append(
        f"{len(findings)} checks: {counts['ok']} ok, {counts['warning']} warnings, {counts['failure']} failures"
    )
    return "\n".join(lines)
