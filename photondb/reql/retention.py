"""How long a table keeps its documents and its past, as its configuration says it: `expire`, `history` and `changelog`
of `table_config`.

They are there only when they are set. `history` is a duration, "7d" for instance; `changelog` is an object with `hours`
and `bytes`, each of which may be missing. `expire` is an object with the name of an `index`, whose times say when
documents expire, or with `after`, a duration, how long after them. Setting one to null takes it away.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from photondb.api.catalogue import Expiry, IndexInfo, TableSettings
from photondb.datum.text import print_datum
from photondb.datum.types import normalise_number

if TYPE_CHECKING:
    from photondb.reql.system.objects import Fields

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_duration = re.compile(r"([1-9][0-9]{0,8})([dhms])").fullmatch


def show_settings(settings: TableSettings) -> dict[str, Any]:
    """The fields of `table_config`."""
    shown: dict[str, Any] = {}
    if settings.history_s is not None:
        shown["history"] = _shown(settings.history_s)
    changelog: dict[str, Any] = {}
    if settings.changelog_bytes is not None:
        changelog["bytes"] = settings.changelog_bytes
    if settings.changelog_s is not None:
        changelog["hours"] = normalise_number(settings.changelog_s / 3600)
    if changelog:
        shown["changelog"] = changelog
    if settings.expire is not None:
        shown["expire"] = {"index": settings.expire.index}
        if settings.expire.after_s:
            shown["expire"]["after"] = _shown(settings.expire.after_s)
    return shown


def take_settings(fields: Fields, indexes: Sequence[IndexInfo]) -> TableSettings:
    """The settings in an object that somebody wrote about a table with these indexes. Raises ReqlError."""
    history = fields.take("history") if "history" in fields else None
    changelog = fields.take("changelog") if "changelog" in fields else None
    changelog_s = changelog_bytes = None
    if changelog is not None:
        if type(changelog) is not dict or set(changelog) - {"bytes", "hours"}:
            raise fields.fail(
                f"In `changelog`: Expected an object with `hours` and `bytes`; got {print_datum(changelog)}"
            )
        hours, size = changelog.get("hours"), changelog.get("bytes")
        if hours is not None:
            if type(hours) not in (int, float) or not 0 < hours < 1e6:
                raise fields.fail(f"In `changelog`: Expected a positive number of hours; got {print_datum(hours)}")
            changelog_s = max(1, round(hours * 3600))
        if size is not None:
            if type(size) is not int or size <= 0:
                raise fields.fail(f"In `changelog`: Expected a positive number of bytes; got {print_datum(size)}")
            changelog_bytes = size
    history_s = None if history is None else _seconds(fields, "history", history)
    return TableSettings(history_s, changelog_s, changelog_bytes, _take_expiry(fields, indexes))


def _take_expiry(fields: Fields, indexes: Sequence[IndexInfo]) -> Expiry | None:
    expire = fields.take("expire") if "expire" in fields else None
    if expire is None:
        return None
    if type(expire) is not dict or set(expire) - {"after", "index"} or type(expire.get("index")) is not str:
        raise fields.fail(
            "In `expire`: Expected an object with `index`, the name of an index, and perhaps `after`, a duration; got "
            + print_datum(expire)
        )
    name = expire["index"]
    found = next((index for index in indexes if index.name == name), None)
    if found is None:
        raise fields.fail(f"In `expire`: The table has no index `{name}`, which is to say when documents expire.")
    if found.multi or found.geo:
        raise fields.fail(
            f"In `expire`: Index `{name}` is a multi or a geo index: it has no single time for each document."
        )
    after = expire.get("after")
    return Expiry(name, 0 if after is None else _seconds(fields, "expire", after))


def _seconds(fields: Fields, field: str, value: Any) -> int:
    found = _duration(value) if type(value) is str else None
    if found is None:
        raise fields.fail(
            f'In `{field}`: Expected a duration such as "7d", "12h", "30m" or "90s"; got {print_datum(value)}'
        )
    return int(found[1]) * _UNITS[found[2]]


def _shown(seconds: int) -> str:
    return next(f"{seconds // size}{unit}" for unit, size in _UNITS.items() if seconds % size == 0)
