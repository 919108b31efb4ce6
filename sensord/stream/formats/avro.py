"""Avro with a schema registry, in Confluent's framing: a zero, the schema's number (4 bytes), and the document.

A number stands for one schema for ever, so what is known is kept. A registry that doesn't answer makes no dead letters:
it is asked again for a while, and then this process ends, to go on where the database says.
"""

import io
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sensord.calls import NoAnswer, call
from sensord.errors import SettingsInvalid, Unreachable
from sensord.readings import RawRecord
from sensord.stream.dead_letters import Reason, Refusal
from sensord.stream.formats.documents import Places, document_of, point
from sensord.stream.formats.points import Parser, Point

HEADER = struct.Struct(">bI")
PATIENCE_S, RETRY_S, ANSWER_S = 20.0, 0.5, 5.0
DAMAGED = (ValueError, TypeError, LookupError, EOFError, ArithmeticError, RecursionError, StopIteration, struct.error)

Reader = Callable[[bytes], object]  # a document's bytes into the document; raises one of DAMAGED


@dataclass(slots=True)
class SchemaRegistry:
    """Readers by a schema's number. url: may hold user and password. Raises Unreachable."""

    url: str
    _known: dict[int, Reader | None] = field(default_factory=dict)

    def reader(self, number: int) -> Reader | None:
        """None where the registry knows no such schema, or one that can't be used."""
        if number not in self._known:
            written = self._asked(number)
            self._known[number] = None if written is None else _reader(written)
        return self._known[number]

    def _asked(self, number: int) -> str | None:
        where, said = f"{self.url.rstrip('/')}/schemas/ids/{number}", ""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = call("GET", where, ANSWER_S)
            except NoAnswer as error:
                said = str(error)
            else:
                if answer.status == 404:
                    return None
                if answer.status == 200:
                    return _schema_of(answer.body)
                said = f"it answers {answer.status}"
            if time.monotonic() >= deadline:
                raise Unreachable(f"schema registry (mapping.registry), schema {number}: {said}")
            time.sleep(RETRY_S)


class _Answer(msgspec.Struct):
    schema: str


def _schema_of(answer: bytes) -> str | None:
    try:
        return msgspec.json.decode(answer, type=_Answer).schema
    except (ValueError, RecursionError):
        return None


def avro(registry: SchemaRegistry, places: Places) -> Parser:
    """Documents of any schema that the registry knows."""

    def parse(record: RawRecord, value: bytes) -> Iterator[Point]:
        if len(value) < HEADER.size or value[0] != 0:
            raise Refusal(Reason.MALFORMED, "no Avro in a schema registry's framing: it doesn't begin with a zero")
        _, number = HEADER.unpack_from(value)
        reader = registry.reader(number)
        if reader is None:
            raise Refusal(Reason.MALFORMED, f"the registry knows no schema {number}, or it is no Avro")
        try:
            document = reader(value[HEADER.size :])
        except DAMAGED as error:
            raise Refusal(Reason.MALFORMED, f"not of schema {number}: {type(error).__name__}: {error}") from None
        yield point(document_of(document), places)

    return parse


def _reader(written: str) -> Reader | None:
    try:
        from fastavro import parse_schema, schemaless_reader  # noqa: PLC0415  # an extra
        from fastavro.schema import SchemaParseException, UnknownType  # noqa: PLC0415
    except ImportError as error:
        raise SettingsInvalid("decoder avro needs fastavro: pip install 'sensord[avro]'") from error
    try:
        schema = parse_schema(msgspec.json.decode(written, type=dict[str, Any]))
    except (*DAMAGED, SchemaParseException, UnknownType):
        return None
    return lambda body: schemaless_reader(io.BytesIO(body), schema, None)
