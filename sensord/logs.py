"""Logs on stderr: one JSON object a line, or text on a terminal. Configured once, by `cli`.

Records of other libraries take the same way, so that kafka's and sqlalchemy's lines read like ours. Passwords are cut
out of the finished line, wherever they were: in an event, a field, a foreign record or a traceback.
"""

import json
import logging
import sys
from collections.abc import Collection, Sequence
from typing import TextIO

import structlog
from structlog.types import Processor

HIDDEN = "***"
SHORTEST_SECRET = 4  # characters; shorter ones would tear up words that give nothing away

# Libraries that speak of steps at INFO. None may ever go down to DEBUG: kafka prints the SASL password there.
CHATTY = ("kafka", "alembic", "sqlalchemy", "asyncio")
TELLING = ("httpx2", "httpcore2", "uvicorn")  # whose lines hold the addresses of sinks, or say what we say ourselves


def configure(level: str, form: str, secrets: Collection[str] = (), stream: TextIO | None = None) -> None:
    """Send every log record of this process to stream (stderr); may be called again.

    level: debug, info, warning or error. form: json, text, or auto: text on a terminal. secrets: never written.
    """
    out = stream if stream is not None else sys.stderr
    as_text = form == "text" or (form == "auto" and out.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    ending = _text_ending(out) if as_text else _json_ending()
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        _Formatter(
            secrets,
            [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
            [structlog.stdlib.PositionalArgumentsFormatter(), *shared],
        )
    )
    least = logging.getLevelNamesMapping()[level.upper()]
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(least)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.INFO if least == logging.DEBUG else max(least, logging.WARNING))
    for name in TELLING:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)


def _text_ending(out: TextIO) -> list[Processor]:
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain, timestamp_key="time")]


def _json_ending() -> list[Processor]:
    return [
        structlog.processors.format_exc_info,
        structlog.processors.UnicodeDecoder(),
        structlog.processors.JSONRenderer(ensure_ascii=False),
    ]


class Censor:
    """Cuts secrets out of text, however repr and JSON spell them."""

    def __init__(self, secrets: Collection[str]) -> None:
        long = [secret for secret in secrets if len(secret) >= SHORTEST_SECRET]
        said = {form for secret in long for form in (secret, repr(secret)[1:-1], ascii(secret)[1:-1])}
        escaped = {json.dumps(form, ensure_ascii=narrow)[1:-1] for form in said for narrow in (True, False)}
        self._spelt = sorted(said | escaped, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._spelt:
            text = text.replace(secret, HIDDEN)
        return text


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Renders a record, then cuts every secret out of the finished line."""

    def __init__(self, secrets: Collection[str], processors: Sequence[Processor], before: Sequence[Processor]) -> None:
        super().__init__(processors=processors, foreign_pre_chain=before)
        self._censor = Censor(secrets)

    def format(self, record: logging.LogRecord) -> str:
        return self._censor(super().format(record))
