"""URLs and request heads: what is read, what is written, what is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.providers.wire import WireError
from gateway.providers.wire.head import request_head
from gateway.providers.wire.target import target


@pytest.mark.parametrize(
    ("url", "origin", "authority", "path"),
    [
        ("https://Api.Test", "https://api.test:443", "api.test", "/"),
        ("https://api.test:443/v1", "https://api.test:443", "api.test", "/v1"),
        ("http://api.test:443/v1", "http://api.test:443", "api.test:443", "/v1"),
        ("http://api.test?x=1", "http://api.test:80", "api.test", "/?x=1"),
        ("http://api.test/a%20b/c?x=%0a&y#frag", "http://api.test:80", "api.test", "/a%20b/c?x=%0a&y"),
        ("http://[::1]", "http://[::1]:80", "[::1]", "/"),
        ("http://[::1]:8080/x", "http://[::1]:8080", "[::1]:8080", "/x"),
        ("http://127.0.0.1:8080//x", "http://127.0.0.1:8080", "127.0.0.1:8080", "//x"),
    ],
)
def test_a_url_is_read_into_whom_and_what(url: str, origin: str, authority: str, path: str) -> None:
    where = target(url)
    assert (where.origin, where.authority, where.path) == (origin, authority, path)


@pytest.mark.parametrize(
    "url",
    [
        *("", "/v1", "api.test", "ftp://api.test", "https://", "https://:443", "http://[::1"),
        *("http://a:b", "http://a:70000", "http://a:0", "http://user:hunter2@a"),
        *("http://a/b c", "http://a/\r\nx: y", "http://a/\u00e4", "http://a/\0"),
    ],
)
def test_what_is_no_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(WireError) as caught:
        target(url)
    assert "hunter2" not in caught.value.reason


def test_a_head_has_the_host_and_the_length_and_no_more_than_was_given() -> None:
    where = target("http://a.test/v1")
    assert request_head("POST", where, {"X-A": "b"}, 3, proxy_headers=None) == (
        b"POST /v1 HTTP/1.1\r\nhost: a.test\r\nX-A: b\r\ncontent-length: 3\r\n\r\n"
    )
    assert request_head("POST", where, {}, 0, proxy_headers=None).endswith(b"content-length: 0\r\n\r\n")
    assert b"content-length" not in request_head("GET", where, {}, 0, proxy_headers=None)


@pytest.mark.parametrize(
    "name", ["Host", "content-length", "Transfer-Encoding", "connection", "", "a b", "a:", "\u00e4"]
)
def test_names_that_would_change_the_framing_are_refused(name: str) -> None:
    with pytest.raises(WireError):
        request_head("POST", target("http://a.test"), {name: "x"}, 0, proxy_headers=None)


@given(value=st.text(max_size=20))
@settings(max_examples=200, deadline=None)
def test_any_header_value_is_one_line_or_refused(value: str) -> None:
    where = target("http://a.test")
    try:
        head = request_head("POST", where, {"x-a": value}, 0, proxy_headers=None)
    except WireError as error:
        assert value.isspace() or not value or value not in error.reason
        return
    lines = head.split(b"\r\n")
    assert lines[2] == f"x-a: {value}".encode("latin-1")
    assert len(lines) == 6
    assert b"\n" not in b"".join(lines)
