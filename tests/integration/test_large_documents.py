"""Documents as large as they may be, from the driver to the disk and back, in one process and in several."""

from __future__ import annotations

from pathlib import Path

import pytest
from rethinkdb import r

from tests.running_suite import RunningSuite

MEGABYTE = 1 << 20


@pytest.mark.timeout(900)
@pytest.mark.parametrize("processes", [False, True], ids=["one process", "processes"])
def test_documents_up_to_the_limit_that_is_set(
    tmp_path: Path, processes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHOTONDB_MAX_DOCUMENT_BYTES", str(64 * MEGABYTE))
    text = "0123456789abcdef" * (60 * MEGABYTE // 16)
    with (
        RunningSuite(tmp_path / "data", processes=processes) as suite,
        r.connect("127.0.0.1", suite.driver_port, timeout=120) as connection,
    ):
        r.table_create("t").run(connection)
        written = r.table("t").insert({"id": 1, "text": text}).run(connection)
        assert (written["inserted"], written["errors"]) == (1, 0), written
        found = r.table("t").get(1).run(connection)
        assert found == {"id": 1, "text": text}
        del found
        # Storage makes a document larger, too, and says when it would be too large.
        grown = r.table("t").get(1).update({"more": "x" * 5 * MEGABYTE}).run(connection)
        assert grown["errors"] == 1
        assert grown["first_error"].startswith(
            "Document too large for disk writes (limit 67,108,864 bytes of JSON, got"
        )
        assert [row["id"] for row in r.table("t").pluck("id").run(connection)] == [1]
        assert r.table("t")["text"].count().run(connection) == 1
        assert len(next(iter(r.table("t").run(connection)))["text"]) == len(text)


def test_the_limit_that_is_usual(tmp_path: Path) -> None:
    with (
        RunningSuite(tmp_path / "data", processes=True) as suite,
        r.connect("127.0.0.1", suite.driver_port, timeout=120) as connection,
    ):
        r.table_create("t").run(connection)
        documents = [{"id": 1, "text": "x" * 15 * MEGABYTE}, {"id": 2, "text": "x" * 16 * MEGABYTE}, {"id": 3}]
        written = r.table("t").insert(documents).run(connection)
        assert (written["inserted"], written["errors"]) == (2, 1)
        assert written["first_error"].startswith(
            "Document too large for disk writes (limit 16,777,216 bytes of JSON, got"
        )
        assert [row["id"] for row in r.table("t").order_by("id").pluck("id").run(connection)] == [1, 3]
