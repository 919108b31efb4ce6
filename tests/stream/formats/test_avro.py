"""Avro as Confluent's serializers frame it; a registry that is away loses nothing, and nobody reads its password."""

import base64
import io
import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from fastavro import schemaless_writer

from sensord.errors import SettingsInvalid, Unreachable
from sensord.readings import Partition, Record
from sensord.settings import FleetSettings, load
from sensord.stream.dead_letters import Reason
from sensord.stream.decoders import Decoded, Decoder
from sensord.stream.formats import avro
from sensord.stream.formats.decoder import decoder_of
from tests.stream.formats.corpora import NOON

PARTITION = Partition("t", 0)
SCHEMA = {
    "type": "record",
    "name": "Reading",
    "fields": [
        {"name": "device_id", "type": "string"},
        {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {
            "name": "values",
            "type": {
                "type": "record",
                "name": "Values",
                "fields": [
                    {"name": "temperature", "type": ["null", "double"]},
                    {"name": "running", "type": "boolean"},
                    {"name": "note", "type": "string"},
                ],
            },
        },
    ],
}
AT = datetime.fromtimestamp(NOON, UTC)


@dataclass
class Registry:
    """A schema registry that knows two schemas. failing: how many requests it answers with 503 first."""

    url: str
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    failing: int = 0


@contextmanager
def serving() -> Iterator[Registry]:
    schemas = {"/schemas/ids/7": json.dumps(SCHEMA), "/schemas/ids/9": '{"type": "nonsense"}'}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append((self.path, self.headers["Authorization"]))
            made.failing -= 1
            status = 503 if made.failing >= 0 else 200 if self.path in schemas else 404
            body = json.dumps({"schema": schemas.get(self.path, "")}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made = Registry(f"http://ann:s3cret@127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as made:
        yield made


def decoder(url: str) -> Decoder:
    settings = {"topics": ["t"], "decoder": "avro", "mapping": {"registry": url}}
    return decoder_of(FleetSettings.model_validate(settings), ("temperature", "running"))


def message(number: int = 7, **values: object) -> bytes:
    body = io.BytesIO()
    whole = {"temperature": 71.5, "running": True, "note": "n"} | values
    schemaless_writer(body, SCHEMA, {"device_id": "pump-7", "timestamp": AT, "values": whole})
    return b"\0" + number.to_bytes(4, "big") + body.getvalue()


def decode(url: str, *values: bytes) -> Decoded:
    return decoder(url).decode(PARTITION, [Record(n, NOON * 1_000, None, value) for n, value in enumerate(values)])


def test_documents_become_readings_and_a_schema_is_asked_for_once(registry: Registry) -> None:
    decoded = decode(registry.url, message(), message(temperature=None, running=False))
    assert decoded.dead_letters == []
    assert decoded.readings.device_ids == ["pump-7", "pump-7"]
    assert decoded.readings.at.tolist() == [NOON * 1_000_000] * 2
    np.testing.assert_array_equal(decoded.readings.values, np.array([[71.5, 1], [np.nan, 0]], np.float32))
    assert registry.asked == [("/schemas/ids/7", "Basic " + base64.b64encode(b"ann:s3cret").decode())]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (message(8), "knows no schema 8"),
        (message(9), "knows no schema 9, or it is no Avro"),
        (b"{}", "doesn't begin with a zero"),
        (message()[:-9], "not of schema 7"),
        (b"", "doesn't begin with a zero"),
    ],
)
def test_what_can_t_be_read_is_refused_by_name(registry: Registry, value: bytes, words: str) -> None:
    [letter] = decode(registry.url, value).dead_letters
    assert letter.reason == Reason.MALFORMED
    assert words in letter.detail


def test_a_registry_that_comes_back_is_waited_for(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(avro, "RETRY_S", 0.01)
    registry.failing = 3
    assert len(decode(registry.url, message()).readings) == 1
    assert len(registry.asked) == 4


def test_one_that_stays_away_ends_the_process_and_makes_no_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as registry:
        url = registry.url
    monkeypatch.setattr(avro, "RETRY_S", 0.01)
    monkeypatch.setattr(avro, "PATIENCE_S", 0.05)
    with pytest.raises(Unreachable, match=r"schema registry \(mapping.registry\), schema 7: no answer") as caught:
        decode(url, message())
    assert "s3cret" not in str(caught.value)


def test_damaged_documents_never_raise(registry: Registry) -> None:
    rng, good = random.Random(0), message()
    read = decoder(registry.url)
    for _ in range(2_000):
        damaged = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(5, len(damaged))] = rng.randrange(256)
        for letter in read.decode(PARTITION, [Record(0, NOON * 1_000, None, bytes(damaged))]).dead_letters:
            assert letter.reason in {reason.value for reason in Reason}


def test_the_address_is_a_secret_and_goes_with_the_decoder() -> None:
    environ = {"SENSORD_FLEETS__PUMPS__TOPICS": '["t"]', "SENSORD_FLEETS__PUMPS__DECODER": "avro"}
    with pytest.raises(SettingsInvalid, match=r"avro and mapping.registry go together"):
        load(environ=environ)
    settings = load(environ=environ | {"SENSORD_FLEETS__PUMPS__MAPPING__REGISTRY": "http://ann:s3cret@r"})
    assert "s3cret" not in repr(settings)
    assert "http://ann:s3cret@r" in settings.secrets()
