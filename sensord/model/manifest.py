"""What a bundle says of itself, read and checked without its weights, and without torch. Used by `bundle` and `web`."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import msgspec

from sensord import __version__
from sensord.errors import BundleInvalid

FORMAT_VERSION = 1
MANIFEST_LIMIT = 1 << 20  # bytes
CHANNELS_LIMIT = 1_024
HIDDEN_LIMIT = 1_024
CELL_NAMES = ("lstm", "gru", "rnn", "transformer")  # those of `cells`, which needs torch
Span = Annotated[float, msgspec.Meta(ge=1)]  # readings
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]  # readings
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]


class Channel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A measured quantity; unit is "" where unknown."""

    name: str
    unit: str = ""


class Tuning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Constants of the scorer that are the same for every device; counted in readings unless said otherwise."""

    smoothing: Span = 15.0  # span of the smoothed residual f
    baseline: Span = 200.0  # span of the slow baseline b
    decay: Share = 0.998  # of the peak, a calm reading
    peak_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.4  # the limit is at least this share of the peak
    clear_share: Share = 0.6  # an alarm ends below this share of the limit
    warm_up: Count = 31  # readings after a fresh state that are not scored: the 32nd is
    open_after: Count = 5  # anomalous readings in a row that open an episode
    close_after: Count = 20  # calm readings in a row that close it
    critical: Annotated[float, msgspec.Meta(ge=1)] = 2.0  # peaks beyond this many thresholds are critical
    dead_time: Annotated[int, msgspec.Meta(ge=0)] = 60  # after an episode; only what is worse opens another
    adaptation: Span = 2_000.0  # span over which a device's threshold follows its usual score
    adaptation_limit: Annotated[float, msgspec.Meta(ge=1)] = 2.0  # it at most grows or shrinks by this factor


class HistoryRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a bundle has learned from; first_at and last_at are microseconds UTC."""

    devices: int
    readings: int
    first_at: int
    last_at: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a bundle says about itself. `bundle_id` is derived from all the rest, so equal input has an equal id."""

    format_version: int
    bundle_id: str
    fleet: str
    channels: tuple[Channel, ...]
    hidden: int
    cell: str
    period_s: Annotated[float, msgspec.Meta(gt=0)]
    tuning: Tuning
    history: HistoryRange
    metrics: dict[str, float]
    weights_sha256: str
    made_by: str = f"sensord {__version__}"


def parse_manifest(manifest: bytes) -> Manifest:
    """Raises BundleInvalid."""
    if len(manifest) > MANIFEST_LIMIT:
        raise BundleInvalid(f"manifest of {len(manifest):,} bytes; at most {MANIFEST_LIMIT:,} are read")
    try:
        parsed = msgspec.json.decode(manifest, type=Manifest)
    except (ValueError, RecursionError) as error:
        raise BundleInvalid(f"manifest can't be read: {error}") from error
    if parsed.format_version != FORMAT_VERSION:
        raise BundleInvalid(f"bundle format {parsed.format_version}; this version reads {FORMAT_VERSION}")
    if not 1 <= len(parsed.channels) <= CHANNELS_LIMIT or not 1 <= parsed.hidden <= HIDDEN_LIMIT:
        raise BundleInvalid(f"{len(parsed.channels)} channels, {parsed.hidden} hidden units: out of bounds")
    if parsed.cell not in CELL_NAMES:
        raise BundleInvalid(f"cell {parsed.cell!r} is unknown to this version")
    if twice := doubled([channel.name for channel in parsed.channels]):
        raise BundleInvalid(f"manifest names channel {twice!r} twice")
    if parsed.bundle_id != id_of(manifest):
        raise BundleInvalid(f"manifest of {parsed.bundle_id} is damaged: the id belongs to another content")
    return parsed


def id_of(manifest: bytes) -> str:
    """The id that a manifest's content has, whatever it says itself; of its fields as written, not as this version
    knows them, so that one with fewer fields keeps its id."""
    unnamed = msgspec.json.decode(manifest, type=dict[str, object]) | {"bundle_id": ""}
    digest = hashlib.sha256(msgspec.json.encode(unnamed)).hexdigest()
    return f"{unnamed['fleet']}-{digest[:12]}"


def doubled(names: Sequence[str]) -> str | None:
    """A name that is there more than once."""
    return next((name for name, count in Counter(names).items() if count > 1), None)
