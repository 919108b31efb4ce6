"""What is fuzzed: every reader of bytes that come from elsewhere, each with good inputs and the errors it may raise."""

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from sensord.detection.channels.bank import constants_of
from sensord.detection.device_pages import MAGIC, STATE_FORMATS, glimpse, has_device, open_page
from sensord.detection.devices import Devices
from sensord.detection.pages import CHECKSUM, seal
from sensord.detection.reorder import MAGIC as REORDER_MAGIC
from sensord.detection.reorder import REORDER_PAGE, Reorder
from sensord.errors import BundleInvalid, BundleUntrusted, SensordError, StateUnreadable
from sensord.model.bundle import Packed, unpack
from sensord.model.manifest import parse_manifest
from sensord.model.signature import SIGNATURE_FORMAT, Signature, parse_signature
from sensord.readings import Partition, Readings, Record
from sensord.stream.dead_letters import DETAIL_LIMIT, LETTERS_LIMIT, PAYLOAD_LIMIT, Reason
from sensord.stream.decoders import GLOSSARY_PAGE, Decoder
from sensord.stream.decoders.json import JsonDecoder
from sensord.stream.formats.decoder import decoder_of, read_through
from tests.builders import packed
from tests.fuzz.mutations import mutated
from tests.stream.formats.corpora import CORPORA

PUMPS = Partition("sensors.pumps", 0)
NOON_MS = 1_795_435_200_000
Read = Callable[[random.Random], object]


@dataclass(frozen=True, slots=True)
class Target:
    """A reader that makes inputs of its own and reads them at once. errors: what may come of it."""

    name: str
    read: Read
    errors: tuple[type[SensordError], ...]
    at_once: int = 1


# --- decoders --------------------------------------------------------------------------------------------------------

_DECODER = JsonDecoder(("heat", "noise", "°C"))
_GOOD = {"device_id": "pump-7", "timestamp": "2026-11-23T12:00:00Z", "values": {"heat": 71.2, "noise": None, "°C": -1}}
MESSAGES = [
    json.dumps(message, ensure_ascii=False).encode()
    for message in (
        _GOOD,
        _GOOD | {"timestamp": NOON_MS},
        {"values": {"heat": 1}},
        [_GOOD, _GOOD | {"device_id": "pümp", "values": {"noise": 1e-30}}],
        [_GOOD] * 20,
        _GOOD | {"extra": {"deep": [[[{}]]]}},
    )
]
RECORDS = 20  # decoded at once
_KEYS = (b"pump-7", None, b"\xff", b"k" * 256, b"k" * 257, b"")
_STAMPS = (NOON_MS, NOON_MS, -1, 0, (1 << 63) - 1)
_REASONS = set(Reason)


def _decode(
    rng: random.Random,
    decoder: Decoder = _DECODER,
    messages: Sequence[bytes] = MESSAGES,
    keys: Sequence[bytes | None] = _KEYS,
) -> None:
    records = [
        Record(offset, rng.choice(_STAMPS), rng.choice(keys), mutated(rng, messages)) for offset in range(RECORDS)
    ]
    decoded = read_through(decoder, PUMPS, records)
    readings, letters = decoded.readings, decoded.dead_letters
    told = {letter.offset for letter in letters} | set(readings.offsets.tolist())
    assert len(set(range(RECORDS)) - told) <= decoded.skipped, "a record that became nothing"
    assert not np.isinf(readings.values).any(), "an infinite value"
    assert len(letters) <= RECORDS * LETTERS_LIMIT, "a flood of dead letters"
    for letter in letters:
        assert letter.reason in _REASONS, letter.reason
        assert len(letter.detail) <= DETAIL_LIMIT, "a long story"
        assert letter.detail.isprintable(), letter.detail
        assert len(letter.payload) <= PAYLOAD_LIMIT, "a large payload"


def _format(name: str) -> Target:
    """A format of another system, on its corpus."""
    corpus = CORPORA[name]
    decoder, messages = decoder_of(corpus.fleet, corpus.channels), [value for _, value in corpus.records]
    keys = (*_KEYS, *(key for key, _ in corpus.records))
    return Target(name.replace(", ", "-"), lambda rng: _decode(rng, decoder, messages, keys), (), RECORDS)


# --- bundles ---------------------------------------------------------------------------------------------------------

_BUNDLES = [packed(device_ids=("pump-1", "pümp 2")), packed(seed=1, events=True)]
_MANIFESTS, _WEIGHTS = [one.manifest for one in _BUNDLES], [one.weights for one in _BUNDLES]


def _honest(manifest: bytes, weights: bytes) -> Packed:
    """Id and SHA-256 put right where that can be done: past these checks lies what is to be found."""
    sha256 = hashlib.sha256(weights).hexdigest()
    try:
        fields = msgspec.json.decode(manifest, type=dict[str, object]) | {"bundle_id": "", "weights_sha256": sha256}
        named = f"{fields.get('fleet')}-{hashlib.sha256(msgspec.json.encode(fields)).hexdigest()[:12]}"
        manifest = msgspec.json.encode(fields | {"bundle_id": named})
    except (ValueError, RecursionError, TypeError):
        named = ""
    return Packed(named, manifest, weights, sha256)


def _read_manifest(rng: random.Random) -> None:
    manifest = mutated(rng, _MANIFESTS)
    parse_manifest(_honest(manifest, b"").manifest if rng.random() < 0.8 else manifest)


def _read_bundle(rng: random.Random) -> None:
    which = rng.randrange(len(_BUNDLES))
    manifest, weights = _MANIFESTS[which], _WEIGHTS[which]
    part = rng.random()
    if part < 0.3:
        manifest = mutated(rng, _MANIFESTS)
    elif part < 0.6:
        weights = mutated(rng, _WEIGHTS)
    else:
        weights = _with_header(rng, weights)
    bundle = unpack(_honest(manifest, weights))
    constants_of(bundle.profiles.events, len(bundle.channels))


def _with_header(rng: random.Random, weights: bytes) -> bytes:
    """Weights whose header is mutated and whose length is right again."""
    size = int.from_bytes(weights[:8], "little")
    header = mutated(rng, [weights[8 : 8 + size]])
    return len(header).to_bytes(8, "little") + header + weights[8 + size :]


def _read_signature(rng: random.Random) -> None:
    parse_signature("pumps-1", mutated(rng, _SIGNATURES))


_SIGNATURES = [msgspec.json.encode(Signature(SIGNATURE_FORMAT, "ed25519-0123456789abcdef", "A" * 88))]


# --- state -----------------------------------------------------------------------------------------------------------


def _pages() -> list[bytes]:
    found: list[bytes] = []
    for count in (1, 5):
        devices = Devices(2, 8)
        devices.touch(devices.find([f"pump-{n}" for n in range(count)]))
        found += [page.sealed() for page in devices.dirty_pages().values()]
    return found


_PAGES = _pages()
_PREFIX = len(MAGIC) + CHECKSUM


def _parts(page: bytes) -> tuple[bytes, bytes]:
    """Header and body."""
    _, size, _ = np.frombuffer(page, "<u4", 3, _PREFIX).tolist()
    return page[_PREFIX + 12 : _PREFIX + 12 + size], page[_PREFIX + 12 + size :]


_HEADERS, _BODIES = [_parts(page)[0] for page in _PAGES], [_parts(page)[1] for page in _PAGES]


def _read_page(rng: random.Random) -> None:
    which = rng.randrange(len(_PAGES))
    header, body = _HEADERS[which], _BODIES[which]
    part = rng.random()
    if part < 0.2:
        page = mutated(rng, _PAGES)
    else:
        header = mutated(rng, _HEADERS) if part < 0.9 else header
        body = mutated(rng, _BODIES) if part >= 0.8 else body
        sizes = np.array([rng.choice(STATE_FORMATS), len(header), len(body)], "<u4").tobytes()
        page = seal(MAGIC, sizes + header + body)
    open_page(0, page)  # most are refused here, before there need be a store
    Devices(2, 8).load({0: page})


def _look_at_page(rng: random.Random) -> None:
    which = rng.randrange(len(_PAGES))
    header, body = _HEADERS[which], _BODIES[which]
    header = mutated(rng, _HEADERS) if rng.random() < 0.8 else header
    body = mutated(rng, _BODIES) if rng.random() < 0.3 else body
    sizes = np.array([rng.choice(STATE_FORMATS), len(header), len(body)], "<u4").tobytes()
    page = seal(MAGIC, sizes + header + body)
    has_device(0, page[: rng.randrange(len(page))], "pump-1")
    glimpse(0, page, "pump-1")


_BIRTHS = decoder_of(CORPORA["sparkplug"].fleet, ("temperature",)).glossary()


def _births() -> bytes:
    """What edge nodes have said of their metrics."""
    corpus = CORPORA["sparkplug"]
    records = [Record(offset, _STAMPS[0], *record) for offset, record in enumerate(corpus.records)]
    decoder = decoder_of(corpus.fleet, corpus.channels)
    _, glossary = decoder.glossary().read(decoder.decode(PUMPS, records))
    return glossary.pages()[GLOSSARY_PAGE]


_SAID = _births()
_SAID_BODY = _SAID[8 + CHECKSUM :]


def _read_births(rng: random.Random) -> None:
    page = mutated(rng, [_SAID]) if rng.random() < 0.3 else seal(_SAID[:8], mutated(rng, [_SAID_BODY]))
    _BIRTHS.load(page)


def _waiting() -> bytes:
    """A page with readings that wait for their turn."""
    reorder, at = Reorder(PUMPS, 2, lateness=10), np.arange(3)
    reorder.take(Readings(PUMPS, ["pump-1", "pümp", "pump-1"], at, np.zeros((3, 2), np.float32), at))
    return reorder.pages()[REORDER_PAGE]


_WAITING = _waiting()


def _read_waiting(rng: random.Random) -> None:
    """Most have a checksum that is right, or nothing else of them would be read."""
    content = mutated(rng, [_WAITING[len(REORDER_MAGIC) + CHECKSUM :]])
    page = seal(REORDER_MAGIC, content) if rng.random() < 0.8 else mutated(rng, [_WAITING])
    reorder = Reorder(PUMPS, 2, lateness=10)
    reorder.load(page)
    reorder.take(Readings.none(PUMPS, 2))


TARGETS: Sequence[Target] = (
    Target("json", _decode, (), RECORDS),
    *map(_format, CORPORA),
    Target("manifest", _read_manifest, (BundleInvalid,)),
    Target("bundle", _read_bundle, (BundleInvalid,)),
    Target("signature", _read_signature, (BundleUntrusted,)),
    Target("state", _read_page, (StateUnreadable,)),
    Target("glimpse", _look_at_page, (StateUnreadable,)),
    Target("births", _read_births, (StateUnreadable,)),
    Target("waiting", _read_waiting, (StateUnreadable,)),
)
