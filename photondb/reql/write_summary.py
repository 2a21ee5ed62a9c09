"""What a write did, as the object that RethinkDB answers with."""

from __future__ import annotations

from typing import Any, Literal

import orjson

from photondb.api.storage import WriteSummary
from photondb.datum.json import dumps, loads_stored

_COUNTERS = ("deleted", "errors", "inserted", "replaced", "skipped", "unchanged")


def summary_json(summary: WriteSummary) -> bytes:
    """The result object as JSON."""
    text = b'{"deleted":%d,"errors":%d,"inserted":%d,"replaced":%d,"skipped":%d,"unchanged":%d' % (
        summary.deleted,
        summary.errors,
        summary.inserted,
        summary.replaced,
        summary.skipped,
        summary.unchanged,
    )
    if summary.first_error is not None:
        text += b',"first_error":' + orjson.dumps(summary.first_error)
    if summary.generated_keys is not None:
        text += b',"generated_keys":' + dumps(summary.generated_keys)
    if summary.changes is not None:
        text += b',"changes":[' + b",".join(summary.changes) + b"]"
    if summary.warnings:
        text += b',"warnings":' + orjson.dumps(summary.warnings)
    return text + b"}"


def summary_datum(summary: WriteSummary) -> dict[str, Any]:
    """The result object as a datum."""
    result: dict[str, Any] = {name: getattr(summary, name) for name in _COUNTERS}
    if summary.first_error is not None:
        result["first_error"] = summary.first_error
    if summary.generated_keys is not None:
        result["generated_keys"] = summary.generated_keys
    if summary.changes is not None:
        result["changes"] = [loads_stored(change) for change in summary.changes]
    if summary.warnings:
        result["warnings"] = list(summary.warnings)
    return result


def add_summary(total: WriteSummary, part: WriteSummary, array_limit: int) -> None:
    """Add what a further batch of the same statement did. Of the changes `array_limit` are kept, with a warning."""
    for name in _COUNTERS:
        setattr(total, name, getattr(total, name) + getattr(part, name))
    if total.first_error is None:
        total.first_error = part.first_error
    if part.changes is not None:
        changes = total.changes = total.changes or []
        changes += part.changes
        if len(changes) > array_limit:
            del changes[array_limit:]
            warn(total, f"Too many changes, array truncated to {array_limit}.")
    if part.generated_keys is not None:
        total.generated_keys = [*(total.generated_keys or ()), *part.generated_keys]
    for warning in part.warnings:
        warn(total, warning)


def add_failure(total: WriteSummary, message: str, old: bytes | None, return_changes: bool | Literal["always"]) -> None:
    """Count a document that could not be written. `old` is the document (JSON) that stays as it is, if there is one."""
    total.errors += 1
    if total.first_error is None:
        total.first_error = message
    if return_changes:
        changes = total.changes = total.changes or []
        if return_changes == "always":
            kept = old or b"null"
            changes.append(b'{"error":%b,"new_val":%b,"old_val":%b}' % (dumps(message), kept, kept))


def warn(total: WriteSummary, warning: str) -> None:
    """Add a warning, once."""
    if warning not in total.warnings:
        total.warnings += (warning,)


def has_effect(summary: WriteSummary) -> bool:
    """Whether any document was written."""
    return bool(summary.deleted or summary.inserted or summary.replaced)
