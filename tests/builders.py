"""Small models and readings for tests: everything has a default, name only what matters."""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import ArrayLike

from sensord.clock import MICROSECONDS
from sensord.detection.channels import EVENT_CHANNELS
from sensord.detection.channels.contract import Past
from sensord.detection.chronicle import Origin
from sensord.detection.fleet import Fleet, Limits
from sensord.model.bundle import Bundle, Packed, Profiles, pack, unpack
from sensord.model.manifest import FORMAT_VERSION, Channel, HistoryRange, Manifest, Tuning
from sensord.model.network import Network, NetworkShape
from sensord.readings import Floats, Partition, RawRecord, Readings, Record

PUMPS = Partition("sensors.pumps", 0)
START = 1_700_000_000 * MICROSECONDS
QUICK = Tuning(smoothing=2.0, warm_up=4, open_after=2, close_after=3)


def network(channels: int = 2, hidden: int = 4, seed: int = 0) -> Network:
    """An untrained network."""
    torch.manual_seed(seed)
    return Network(NetworkShape(channels, hidden)).eval()


def honest(fields: dict[str, object], weights: bytes) -> Packed:
    """A bundle of any content whose id and SHA-256 are right, as an honest but mistaken maker would leave it."""
    sha256 = hashlib.sha256(weights).hexdigest()
    unnamed = fields | {"bundle_id": "", "weights_sha256": sha256}
    named = f"{fields['fleet']}-{hashlib.sha256(msgspec.json.encode(unnamed)).hexdigest()[:12]}"
    return Packed(named, msgspec.json.encode(unnamed | {"bundle_id": named}), weights, sha256)


def packed(
    channels: Sequence[str] = ("heat", "noise"),
    fleet: str = "pumps",
    device_ids: tuple[str, ...] = (),
    tuning: Tuning = QUICK,
    threshold: float = 3.0,
    seed: int = 0,
    period_s: float = 1.0,
    events: bool = False,
    hidden: int = 4,
) -> Packed:
    """A bundle that expects 0 everywhere but for a little that it makes of its state."""
    rows, width = len(device_ids) + 1, len(channels)
    rng = np.random.default_rng(seed)
    head = rng.normal(0, 0.05, (rows, width, hidden + width + 1)).astype(np.float32)
    profiles = Profiles(
        device_ids,
        np.zeros((rows, width), np.float32),
        np.ones((rows, width), np.float32),
        head,
        np.broadcast_to(np.eye(width, dtype=np.float32), (rows, width, width)).copy(),
        np.full(rows, threshold, np.float32),
        np.full(rows, threshold / 4, np.float32),
        event_constants(rows, width) if events else {},
    )
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        bundle_id="",
        fleet=fleet,
        channels=tuple(Channel(name, "K") for name in channels),
        hidden=hidden,
        cell="lstm",
        period_s=period_s,
        tuning=tuning,
        history=HistoryRange(1, 100, START, START + MICROSECONDS),
        metrics={},
        weights_sha256="",
    )
    return pack(manifest, network(width, hidden, seed), profiles)


def event_constants(rows: int, channels: int) -> dict[str, Floats]:
    """What every event channel learns from three days of noise, the same for every profile."""
    rng = np.random.default_rng(7)
    at = START + np.arange(0, 3 * 86_400, 300) * MICROSECONDS
    noise = rng.normal(0, 0.5, (len(at), channels)).astype(np.float32)
    past = Past(at, noise, noise)
    constants = {each.name: np.r_[each.least_limit, each.learn([past])] for each in EVENT_CHANNELS}
    return {name: np.tile(row.astype(np.float32), (rows, 1)) for name, row in constants.items()}


def bundle(**changes: object) -> Bundle:
    """`packed`, ready to score."""
    return unpack(packed(**changes))  # type: ignore[arg-type]  # the same keywords


def fleet(model: Bundle | None = None, max_gap_s: float = 300.0, **limits: Any) -> Fleet:
    """A fleet on the first partition; limits are those of `detection.fleet.Limits`."""
    return Fleet(model or bundle(), Origin("pumps", PUMPS, "topic-id"), Limits(max_gap_s, **limits))


def readings(
    values: ArrayLike,
    device_ids: Sequence[str] | str = "pump-1",
    seconds: Sequence[float] | None = None,
    offsets: Sequence[int] | None = None,
    first: int = 0,
) -> Readings:
    """Readings a second apart from offset `first` on, of one device unless told otherwise."""
    columns = np.asarray(values, np.float32)
    n = len(columns)
    names = [device_ids] * n if isinstance(device_ids, str) else list(device_ids)
    at = np.arange(first, first + n) if seconds is None else np.asarray(seconds)
    return Readings(
        PUMPS,
        names,
        START + np.round(at * MICROSECONDS).astype(np.int64),
        columns.reshape(n, -1),
        np.arange(first, first + n) if offsets is None else np.asarray(offsets, np.int64),
    )


def plain(record: RawRecord) -> Record:
    """A record that compares equal to what was put into a source."""
    return Record(record.offset, record.timestamp, record.key, record.value)
