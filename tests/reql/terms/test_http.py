from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from rethinkdb import r

from photondb.datum.binary import make_binary
from photondb.outbound.addresses import ALLOW_PRIVATE_VARIABLE
from photondb.reql.compiler import compile_function
from photondb.reql.errors import ErrorKind
from tests.outbound.web_server import Pages, serve_pages
from tests.reql.evaluate import evaluate, failure, wire_term


@pytest.fixture(scope="module")
def pages() -> Iterator[str]:
    with serve_pages() as url:
        yield url


@pytest.fixture(autouse=True)
def open_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOW_PRIVATE_VARIABLE, "1")
    Pages.hits.clear()


def test_requests_are_made(pages: str) -> None:
    echo = evaluate(r.http(f"{pages}/echo", params={"b": "x y&z", "a": 1.5, "c": None}))
    assert (echo["method"], echo["query"]) == ("GET", [["a", "1.5"], ["b", "x y&z"], ["c", ""]])
    assert evaluate(r.http(pages.removeprefix("http://") + "/echo?q=1", params={"a": 1}))["query"] == [
        ["q", "1"],
        ["a", "1"],
    ]
    assert evaluate(r.http(f"{pages}/echo", method="HEAD")) is None


@pytest.mark.parametrize(
    ("options", "body", "content_type"),
    [
        (
            {"method": "POST", "data": {"b": "x y", "a": 1, "c": None}},
            "a=1&b=x%20y&c=",
            "application/x-www-form-urlencoded",
        ),
        ({"method": "POST", "data": "raw"}, "raw", "application/x-www-form-urlencoded"),
        ({"method": "PUT", "data": {"b": [1], "a": None}}, '{"a":null,"b":[1]}', "application/json"),
        ({"method": "PATCH", "data": [1, 2]}, "[1,2]", "application/json"),
        ({"method": "DELETE", "data": "raw"}, "raw", None),
        ({"method": "PUT", "data": 1, "header": {"content-type": "text/x"}}, "1", "text/x"),
    ],
)
def test_data_is_sent(pages: str, options: dict[str, Any], body: str, content_type: str | None) -> None:
    echo = evaluate(r.http(f"{pages}/echo", **options))
    assert (echo["method"], echo["body"]) == (options["method"], body)
    assert echo["headers"].get("content-type") == content_type


@pytest.mark.parametrize("header", [{"X-A": "1", "X-B": "2", "X-C": None}, ["X-A: 1", "X-B:2"]])
def test_headers_are_sent(pages: str, header: Any) -> None:
    headers = evaluate(r.http(f"{pages}/echo", header=header))["headers"]
    assert (headers["x-a"], headers["x-b"], "x-c" in headers) == ("1", "2", False)


@pytest.mark.parametrize(
    ("content_type", "body", "options", "value"),
    [
        ("application/json; charset=utf-8", '{"a": [1]}', {}, {"a": [1]}),
        ("text/javascript", "[1]", {}, [1]),
        ("text/javascript", "callback({'': 1})", {}, "callback({'': 1})"),
        ("application/json-p", 'a.callback({"b": 1});', {}, {"b": 1}),
        ("text/json-p", ' a["call-back"]([1]) ', {}, [1]),
        ("image/png", "abc", {}, make_binary(b"abc")),
        ("text/html", "[1]", {}, "[1]"),
        ("text/html", "[1]", {"result_format": "json"}, [1]),
        ("text/html", "f([1])", {"result_format": "jsonp"}, [1]),
        ("application/json", "[1]", {"result_format": "text"}, "[1]"),
        ("text/html", "abc", {"result_format": "binary"}, make_binary(b"abc")),
    ],
)
def test_answers_become_values(pages: str, content_type: str, body: str, options: dict[str, Any], value: Any) -> None:
    assert evaluate(r.http(f"{pages}/typed", params={"type": content_type, "body": body}, **options)) == value


def test_what_goes_wrong_counts_as_missing(pages: str) -> None:
    error = failure(r.http(f"{pages}/status/404"))
    assert error.kind == ErrorKind.NON_EXISTENCE
    assert error.message.startswith(f"Error in HTTP GET of `{pages}/status/404`: status code 404.\nheader:\n{{")
    assert error.message.endswith('\nbody:\n"told so"')
    assert evaluate(r.http(f"{pages}/status/500", attempts=1).default("gone")) == "gone"
    error = failure(r.http(f"{pages}/typed", params={"type": "application/json", "body": "{"}))
    assert ": failed to parse JSON response: Missing a name for object member.." in error.message
    error = failure(r.http(f"{pages}/typed", params={"type": "x", "body": "{"}, result_format="jsonp"))
    assert ": failed to parse JSONP response." in error.message
    error = failure(r.http(f"{pages}/slow", method="PUT", timeout=0.1))
    assert error.message == f"Error in HTTP PUT of `{pages}/slow`: timed out after 0.100 seconds."
    assert failure(r.http(f"{pages}/redirect/2")).message.endswith("Number of redirects hit maximum amount.")
    assert evaluate(r.http(f"{pages}/redirect/2", redirects=2)["method"]) == "GET"


def test_private_addresses_are_out_of_reach_by_default(pages: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ALLOW_PRIVATE_VARIABLE)
    for url in (pages, "http://localhost/", "http://[::1]/", "http://169.254.169.254/latest", "http://10.0.0.1/"):
        error = failure(r.http(f"{url}/echo"))
        assert error.kind == ErrorKind.NON_EXISTENCE
        assert "queries may not reach the address" in error.message
    assert not Pages.hits


def test_users_show_who_they_are(pages: str) -> None:
    account = {"user": "ann", "pass": "secret"}
    assert evaluate(r.http(f"{pages}/basic", auth=account)) == "welcome"
    assert evaluate(r.http(f"{pages}/digest", auth={"type": "digest", **account})) == "welcome"


def test_pages_follow_each_other(pages: str) -> None:
    first = f"{pages}/list"
    everything = r.http(first, page="link-next", page_limit=-1)
    assert evaluate(everything.map(lambda row: row["n"])) == [2, 3, 4, 5, 6, 7]
    assert evaluate(everything.map(lambda row: row["seen"])) == ["0", "0", "1", "1", "2", "2"]
    assert evaluate(everything.type_of()) == "STREAM"
    Pages.hits.clear()
    assert evaluate(everything.limit(3)["n"]) == [2, 3, 4]
    assert Pages.hits["/list"] == 2
    assert evaluate(r.http(first, page="link-next", page_limit=2).count()) == 4
    assert evaluate(r.http(first, page="link-next", page_limit=0)) == []
    assert evaluate(
        r.http(f"{pages}/basic", auth={"user": "ann", "pass": "secret"}, page="link-next", page_limit=-1)
    ) == ["welcome"]


def test_a_function_says_which_page_is_next(pages: str) -> None:
    first = f"{pages}/list"
    by_params = r.http(first, page=lambda info: {"params": {"page": info["body"][0]["n"] / 2 + 1}}, page_limit=3)
    assert evaluate(by_params["n"]) == [2, 3, 4, 5, 6, 7]
    by_url = r.http(first, page=lambda info: r.branch(info["params"] == {}, first + "?page=3", None), page_limit=2)
    assert evaluate(by_url["n"]) == [2, 3, 6, 7]
    ended = r.http(first, page=lambda info: {"url": None, "params": {"page": 2}}, page_limit=-1)
    assert evaluate(ended["n"]) == [2, 3]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (5, "Expected `page` to return an OBJECT, but found NUMBER."),
        ({"a": 1}, "OBJECT returned by `page` must contain `url` and/or `params` fields."),
        ({"url": 1}, "Expected `url` in OBJECT returned by `page` to be a STRING or NULL, but found NUMBER."),
        ({"params": 1}, "Expected `params` to be an OBJECT, but found NUMBER:\n1"),
    ],
)
def test_a_function_that_leads_nowhere_is_shown_with_what_it_was_given(pages: str, given: Any, message: str) -> None:
    error = failure(r.http(f"{pages}/list", page=lambda info: r.expr(given), page_limit=2))
    assert error.message.startswith(f"Error in HTTP GET of `{pages}/list`: {message}")
    assert "Error occurred during `page` called with:\n{" in error.message


@pytest.mark.parametrize(
    ("options", "blamed", "message"),
    [
        (
            {"method": "TRACE"},
            "method",
            "`method` (TRACE) is not recognized (GET, HEAD, POST, PUT, PATCH and DELETE are allowed).",
        ),
        (
            {"result_format": "xml"},
            "result_format",
            "`result_format` (xml) is not recognized, ('auto', 'json', 'jsonp', 'text', and 'binary' are allowed).",
        ),
        ({"timeout": -1}, "timeout", "`timeout` may not be negative."),
        ({"timeout": "1"}, "timeout", "Expected type NUMBER but found STRING."),
        ({"attempts": 1.5}, "attempts", "Number not an integer: 1.5"),
        ({"redirects": -1}, "redirects", "Integer too large: -1"),
        ({"params": [1]}, "params", "Expected `params` to be an OBJECT, but found ARRAY:\n[\n\t1\n]"),
        ({"params": {"a": []}}, "params", "Expected `params.a` to be a NUMBER, STRING or NULL, but found ARRAY:\n[]"),
        ({"header": 1}, "header", "Expected `header` to be an ARRAY or OBJECT, but found NUMBER."),
        ({"header": {"a": 1}}, "header", "Expected `header.a` to be a STRING or NULL, but found NUMBER."),
        ({"header": ["a: b", 1]}, "header", "Expected `header[1]` to be a STRING, but found NUMBER."),
        ({"header": {"a": "b\r\nc: d"}}, "header", "A `header` item contains newline characters."),
        ({"auth": 1}, "auth", "Expected `auth` to be an OBJECT, but found NUMBER."),
        ({"auth": {"user": "a"}}, "auth", "`auth.pass` not found in the auth object."),
        ({"auth": {"user": 1, "pass": "b"}}, "auth", "Expected `auth.user` to be a STRING, but found NUMBER."),
        (
            {"auth": {"user": "a", "pass": "b", "type": "c"}},
            "auth",
            "`auth.type` is not recognized ('basic', and 'digest' are allowed).",
        ),
        ({"method": "POST", "data": 1}, "data", "Expected `data` to be a STRING or OBJECT, but found NUMBER."),
        (
            {"method": "POST", "data": {"a": {}}},
            "data",
            "Expected `data.a` to be a NUMBER, STRING or NULL, but found OBJECT.",
        ),
        (
            {"page": "next", "page_limit": 1},
            "page",
            "`page` method 'next' not recognized, only 'link-next' is available.",
        ),
        (
            {"page": "link-next"},
            "page",
            "Cannot use `page` without specifying `page_limit` (a positive number performs that many requests, "
            "-1 is unlimited).",
        ),
        ({"page": "link-next", "page_limit": -2}, "page_limit", "`page_limit` should be greater than or equal to -1."),
    ],
)
def test_options_that_make_no_sense_are_refused(pages: str, options: dict[str, Any], blamed: str, message: str) -> None:
    error = failure(r.http(f"{pages}/echo", **options))
    assert (error.kind, error.message, error.frames) == (ErrorKind.LOGIC, message, (blamed,))
    assert not Pages.hits


def test_data_needs_a_method_that_sends_it(pages: str) -> None:
    assert failure(r.http(f"{pages}/echo", data="x")).message.startswith("`data` should only be specified on a PUT,")


def test_requests_are_never_made_by_storage() -> None:
    assert not compile_function(wire_term(r.expr([1]).map(lambda row: r.http("example.org")))[1][1]).pushable
