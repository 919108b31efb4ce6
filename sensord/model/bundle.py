"""A bundle: weights and constants with a manifest that vouches for them. Published by `trainer`, loaded by `daemon`.

On disk and in the registry it is two byte strings, `manifest.json` and `weights.safetensors`. The manifest carries the
SHA-256 of the weights; both are checked on the very bytes that are parsed, and every shape is checked against the
manifest before anything is built from it. A third, `signature.json`, may say who made it, see `signature`.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import msgspec
import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from safetensors.numpy import load as parse_tensors
from safetensors.numpy import save as render_tensors

from sensord.errors import BundleInvalid
from sensord.model.manifest import MANIFEST_LIMIT, Manifest, doubled, id_of, parse_manifest
from sensord.model.network import Network, NetworkShape
from sensord.model.signature import SIGNATURE_LIMIT
from sensord.readings import Floats

NETWORK = "network."  # before a parameter's name: its tensor
EVENTS = "events."  # before an event channel's name: its tensor
WEIGHTS_LIMIT = 4 << 30  # bytes
FLOAT_BYTES = 4
MANIFEST_FILE, WEIGHTS_FILE, SIGNATURE_FILE = "manifest.json", "weights.safetensors", "signature.json"


@dataclass(frozen=True, slots=True)
class Profiles:
    """Constants of every device with history, one row each; row 0 is the fleet's, for devices without.

    mean, scale: (rows, channels) in channel units. head: (rows, channels, hidden + channels + 1). precision: (rows,
    channels, channels), inverse covariance of the smoothed residual. threshold: (rows,). usual: (rows,) the score that
    half of a healthy device's readings exceed. events: constants of the event channels by name, (rows, ...), see
    `detection.channels`; a channel without any is off.
    """

    device_ids: tuple[str, ...]
    mean: Floats
    scale: Floats
    head: Floats
    precision: Floats
    threshold: Floats
    usual: Floats
    events: Mapping[str, Floats] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.threshold)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model, ready to score with."""

    manifest: Manifest
    network: Network
    profiles: Profiles

    @property
    def id(self) -> str:
        return self.manifest.bundle_id

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(channel.name for channel in self.manifest.channels)


@dataclass(frozen=True, slots=True)
class Packed:
    """A bundle as bytes."""

    bundle_id: str
    manifest: bytes
    weights: bytes
    sha256: str
    signature: bytes | None = None

    @classmethod
    def read(cls, folder: Path) -> Self:
        """From a folder that `write` made. Raises BundleInvalid."""
        try:
            manifest = _read(folder / MANIFEST_FILE, MANIFEST_LIMIT)
            weights = _read(folder / WEIGHTS_FILE, WEIGHTS_LIMIT)
            signed = folder / SIGNATURE_FILE
            signature = _read(signed, SIGNATURE_LIMIT) if signed.exists() else None
        except OSError as error:
            raise BundleInvalid(f"{folder} is no bundle: {error.strerror}: {error.filename}") from error
        parsed = parse_manifest(manifest)
        return cls(parsed.bundle_id, manifest, weights, parsed.weights_sha256, signature)

    def write(self, folder: Path) -> None:
        """All files into a folder, made when absent; the manifest last, so that half a bundle has none."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / WEIGHTS_FILE).write_bytes(self.weights)
        if self.signature is not None:
            (folder / SIGNATURE_FILE).write_bytes(self.signature)
        (folder / MANIFEST_FILE).write_bytes(self.manifest)


def _read(file: Path, limit: int) -> bytes:
    """A file's bytes, unless they are too many: then none is read. Raises OSError, BundleInvalid."""
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > limit:
            raise BundleInvalid(f"{file} has {size:,} bytes; at most {limit:,} are read")
        return stream.read(limit + 1)


def pack(draft: Manifest, network: Network, profiles: Profiles) -> Packed:
    """Turn a model into bytes; fills in the manifest's bundle_id and weights_sha256."""
    tensors: dict[str, NDArray[np.generic]] = {
        NETWORK + name: np.ascontiguousarray(tensor.detach().cpu().numpy())
        for name, tensor in network.state_dict().items()
    }
    for name in ("mean", "scale", "head", "precision", "threshold", "usual"):
        tensors[f"profiles.{name}"] = np.ascontiguousarray(getattr(profiles, name))
    tensors |= {EVENTS + name: np.ascontiguousarray(constants) for name, constants in profiles.events.items()}
    tensors["profiles.device_ids"] = np.frombuffer(msgspec.json.encode(profiles.device_ids), np.uint8)
    weights = render_tensors(tensors)
    sha256 = hashlib.sha256(weights).hexdigest()
    unnamed = msgspec.structs.replace(draft, bundle_id="", weights_sha256=sha256)
    manifest = msgspec.structs.replace(unnamed, bundle_id=id_of(msgspec.json.encode(unnamed)))
    return Packed(manifest.bundle_id, msgspec.json.format(msgspec.json.encode(manifest), indent=2), weights, sha256)


def unpack(packed: Packed) -> Bundle:
    """Verify bytes and build the model. Raises BundleInvalid."""
    manifest = parse_manifest(packed.manifest)
    if len(packed.weights) > WEIGHTS_LIMIT:
        raise BundleInvalid(f"weights of {len(packed.weights):,} bytes; at most {WEIGHTS_LIMIT:,} are read")
    if hashlib.sha256(packed.weights).hexdigest() != manifest.weights_sha256:
        raise BundleInvalid(f"weights of {manifest.bundle_id} don't match the manifest's SHA-256")
    try:
        tensors = parse_tensors(packed.weights)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:  # KeyError: a type that numpy lacks
        raise BundleInvalid(f"weights of {manifest.bundle_id} can't be read: {error}") from error
    return Bundle(manifest, _network(manifest, tensors), _profiles(manifest, tensors))


def _network(manifest: Manifest, tensors: dict[str, NDArray[np.generic]]) -> Network:
    shape = NetworkShape(len(manifest.channels), manifest.hidden, manifest.cell)
    held = sum(array.nbytes for name, array in tensors.items() if name.startswith(NETWORK))
    least = shape.hidden * (shape.hidden + shape.channels) * FLOAT_BYTES  # whatever the cell
    if held < least:  # a manifest's word costs no memory until there are weights to match it
        raise BundleInvalid(f"{manifest.bundle_id}: {held:,} bytes of network; expected float32, {least:,} at least")
    network = Network(shape)
    expected = network.state_dict()
    loaded = {name: _checked(tensors, NETWORK + name, tuple(tensor.shape)) for name, tensor in expected.items()}
    network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in loaded.items()})
    return network.eval()


def _profiles(manifest: Manifest, tensors: dict[str, NDArray[np.generic]]) -> Profiles:
    channels, inputs = len(manifest.channels), manifest.hidden + len(manifest.channels) + 1
    try:
        names = msgspec.json.decode(tensors["profiles.device_ids"].tobytes(), type=tuple[str, ...])
    except (KeyError, ValueError, RecursionError) as error:
        raise BundleInvalid(f"{manifest.bundle_id}: device ids can't be read: {error}") from error
    if twice := doubled(names):
        raise BundleInvalid(f"{manifest.bundle_id}: device {twice!r} has two profiles")
    rows = len(names) + 1
    mean, scale, head, precision, threshold, usual = (
        _checked(tensors, f"profiles.{name}", shape)
        for name, shape in (
            ("mean", (rows, channels)),
            ("scale", (rows, channels)),
            ("head", (rows, channels, inputs)),
            ("precision", (rows, channels, channels)),
            ("threshold", (rows,)),
            ("usual", (rows,)),
        )
    )
    if (scale <= 0).any() or (threshold <= 0).any() or (usual <= 0).any():
        raise BundleInvalid(f"{manifest.bundle_id}: a scale, threshold or usual score is not positive")
    return Profiles(names, mean, scale, head, precision, threshold, usual, _events(tensors, rows))


def _events(tensors: dict[str, NDArray[np.generic]], rows: int) -> dict[str, Floats]:
    """Every event channel's constants; how wide they have to be is the channel's business."""
    held = {name: tensor.shape[1:] for name, tensor in tensors.items() if name.startswith(EVENTS)}
    return {name.removeprefix(EVENTS): _checked(tensors, name, (rows, *shape)) for name, shape in held.items()}


def _checked(tensors: dict[str, NDArray[np.generic]], name: str, shape: tuple[int, ...]) -> Floats:
    array = tensors.get(name)
    if array is None or array.shape != shape or array.dtype != np.float32:
        found = "absent" if array is None else f"{array.dtype} {array.shape}"
        raise BundleInvalid(f"tensor {name} is {found}; expected float32 {shape}")
    floats = np.asarray(array, np.float32)
    if not np.isfinite(floats).all():
        raise BundleInvalid(f"tensor {name} has values that aren't finite")
    return floats
