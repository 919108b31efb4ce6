"""Promises of the logs: one JSON object a line from whoever speaks, and no password in any of them."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from sensord.logs import CHATTY, configure

SECRET = 'hunter2"of the \\sea é'  # noqa: S105


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in CHATTY}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_away_from_a_terminal_a_line_is_one_json_object_with_time_and_level() -> None:
    stream = io.StringIO()
    configure("info", "auto", stream=stream)
    structlog.get_logger("daemon").info("adopted", partition="a[0]", offset=7)
    (line,) = lines(stream)
    assert line.pop("time").endswith("Z")
    assert line == {"event": "adopted", "partition": "a[0]", "offset": 7, "level": "info", "logger": "daemon"}


def test_records_of_other_libraries_take_the_same_way() -> None:
    stream = io.StringIO()
    configure("info", "json", stream=stream)
    logging.getLogger("kafka.conn").warning("lost %s", "a:9092")
    logging.getLogger("sqlalchemy.engine").warning("gone")
    assert [(line["event"], line["level"], line["logger"]) for line in lines(stream)] == [
        ("lost a:9092", "warning", "kafka.conn"),
        ("gone", "warning", "sqlalchemy.engine"),
    ]


def test_an_exception_is_part_of_its_line() -> None:
    stream = io.StringIO()
    configure("info", "json", stream=stream)
    try:
        raise ValueError("too much")
    except ValueError:
        structlog.get_logger().exception("stopped")
    (line,) = lines(stream)
    assert "ValueError: too much" in line["exception"]


def test_what_is_below_the_level_is_not_written() -> None:
    stream = io.StringIO()
    configure("warning", "json", stream=stream)
    structlog.get_logger("daemon").info("adopted")
    logging.getLogger("kafka").info("joined")
    assert lines(stream) == []


def test_kafka_never_speaks_at_debug_where_it_prints_the_password() -> None:
    stream = io.StringIO()
    configure("debug", "json", stream=stream)
    structlog.get_logger("daemon").debug("ours")
    logging.getLogger("kafka").debug("theirs")
    logging.getLogger("kafka.conn").debug("theirs")
    assert [line["event"] for line in lines(stream)] == ["ours"]


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_password_is_written_nowhere(form: str) -> None:
    stream = io.StringIO()
    configure("debug", form, [SECRET], stream)
    structlog.get_logger().info(f"as {SECRET}", password=SECRET, nested={"url": f"postgresql://me:{SECRET}@db/a"})
    logging.getLogger("kafka").error("config: %s", {"sasl_plain_password": SECRET})
    try:
        raise ValueError(SECRET)
    except ValueError:
        logging.getLogger("other").exception("stopped")
    assert "hunter2" not in stream.getvalue()
    assert stream.getvalue().count("***") >= 5


def test_configuring_again_replaces_what_was() -> None:
    first, second = io.StringIO(), io.StringIO()
    log = structlog.get_logger("daemon")
    configure("info", "json", stream=first)
    log.info("one")
    configure("debug", "text", stream=second)
    log.debug("two")
    assert [line["event"] for line in lines(first)] == ["one"]
    assert "two" in second.getvalue()
