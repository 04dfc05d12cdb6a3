"""Log lines are JSON objects, one a line, without what must not be in them."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from gateway.telemetry import configure_logging


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:], level = before
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_both_kinds_of_loggers_write_json(stream: io.StringIO) -> None:
    configure_logging("info", stream=stream)
    structlog.get_logger("gateway.x").info("opened", session="s-1", text="two\nlines \x1b[31m")
    logging.getLogger("library").warning("spoke %s", "up")
    first, second = lines(stream)
    assert (first["event"], first["session"], first["level"]) == ("opened", "s-1", "info")
    assert first["logger"] == "gateway.x"
    assert (second["event"], second["level"], second["logger"]) == ("spoke up", "warning", "library")
    assert "\x1b" not in stream.getvalue()


def test_lines_below_the_level_and_chatter_of_libraries_are_left_out(stream: io.StringIO) -> None:
    configure_logging("info", stream=stream)
    structlog.get_logger("gateway.x").debug("detail")
    logging.getLogger("httpx").info("request sent")
    assert lines(stream) == []
    configure_logging("debug", stream=stream)
    structlog.get_logger("gateway.x").debug("detail")
    logging.getLogger("httpx").info("request sent")
    assert [line["event"] for line in lines(stream)] == ["detail", "request sent"]


def test_a_traceback_says_where_but_not_what_variables_held(stream: io.StringIO) -> None:
    configure_logging("info", stream=stream)
    secret = "sk-" + "secret"
    try:
        raise RuntimeError(len(secret))
    except RuntimeError:
        structlog.get_logger("gateway.x").exception("failed")
    (line,) = lines(stream)
    assert line["exception"][0]["exc_type"] == "RuntimeError"
    assert line["exception"][0]["frames"][-1]["name"].startswith("test_a_traceback")
    assert secret not in stream.getvalue()


def test_context_bound_to_a_request_is_on_each_line(stream: io.StringIO) -> None:
    configure_logging("info", stream=stream)
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        structlog.get_logger("gateway.x").info("one")
    structlog.get_logger("gateway.x").info("two")
    assert [line.get("request_id") for line in lines(stream)] == ["r-1", None]
