"""RethinkDB's language tests, where they lie beside this project: no fewer pass than before."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compat import polyglot


@pytest.mark.skipif(not polyglot.POLYGLOT.exists(), reason="the language tests (../shared/polyglot) are not here")
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("processes", [False, True], ids=["one process", "processes"])
def test_the_language_is_rethinkdbs(tmp_path: Path, processes: bool) -> None:
    assert polyglot.run(tmp_path, processes=processes) >= polyglot.floor()
