from __future__ import annotations

import pytest

import photondb.reql.terms  # noqa: F401 - all of them, before what they use
from photondb.outbound import Answer
from photondb.reql.http_answers import BadAnswer, headers_object


def links(line: str) -> object:
    return headers_object(Answer(200, [("link", line)], b"", None)).get("link", {})


def test_links_are_taken_apart() -> None:
    assert links('<http://a/?b=1>; rel="next"') == {'rel="next"': "http://a/?b=1"}
    assert links(' <a> ;  rel="x"; b  , <b>,<c>;d') == {'rel="x"; b': "a", "": "b", "d": "c"}
    assert links("") == {}


@pytest.mark.parametrize("line", ["a", "<a", "<a> b", "<a>;", "<a>, ", "b <a>"])
def test_other_lines_are_refused(line: str) -> None:
    with pytest.raises(BadAnswer, match="failed to parse link header line"):
        links(line)


def test_a_line_of_spaces_takes_no_time() -> None:
    """With a pattern that tries every way to divide the spaces it would be hours."""
    spaces = " " * 1_000_000
    assert links(f"<a>;b{spaces}c") == {f"b{spaces}c": "a"}
