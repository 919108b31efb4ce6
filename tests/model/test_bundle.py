"""Promises of a bundle: it comes back as it went, its content names it, and what is damaged is refused as such."""

from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load, save

from sensord.errors import BundleInvalid
from sensord.model.bundle import MANIFEST_FILE, SIGNATURE_FILE, WEIGHTS_FILE, Bundle, Packed, unpack
from sensord.model.manifest import parse_manifest
from tests.builders import honest, packed

GOOD = packed(device_ids=("pump-1", "pümp 2"))
Tensors = dict[str, NDArray[np.generic]]


def fields_of(one: Packed = GOOD) -> dict[str, object]:
    return msgspec.json.decode(one.manifest, type=dict[str, object])


def tensors_of(one: Packed = GOOD) -> Tensors:
    return {name: array.copy() for name, array in load(one.weights).items()}


def refusal(one: Packed) -> str:
    with pytest.raises(BundleInvalid) as caught:
        unpack(one)
    return str(caught.value)


def content(one: Bundle) -> object:
    """All that a bundle is made of, comparable."""
    arrays = [getattr(one.profiles, name).tobytes() for name in ("mean", "scale", "head", "precision", "threshold")]
    weights = {name: tensor.numpy().tobytes() for name, tensor in one.network.state_dict().items()}
    return one.manifest, one.profiles.device_ids, arrays, weights


# --- there and back --------------------------------------------------------------------------------------------------


def test_a_bundle_is_the_same_after_a_trip_through_a_folder(tmp_path: Path) -> None:
    GOOD.write(tmp_path / "new" / "folder")
    read = Packed.read(tmp_path / "new" / "folder")
    assert read == GOOD
    assert content(unpack(read)) == content(unpack(GOOD))
    assert unpack(read).profiles.device_ids == ("pump-1", "pümp 2")


def test_the_same_content_has_the_same_id_and_the_same_bytes() -> None:
    assert packed(device_ids=("pump-1", "pümp 2")) == GOOD


@pytest.mark.parametrize(
    "other",
    [packed(seed=1), packed(threshold=4.0), packed(fleet="valves"), packed(("heat", "hum")), packed(device_ids=("a",))],
    ids=["weights", "threshold", "fleet", "channels", "devices"],
)
def test_another_content_has_another_id(other: Packed) -> None:
    assert other.bundle_id != packed().bundle_id


def test_the_id_is_derived_from_the_content_as_documented() -> None:
    assert honest(fields_of(), GOOD.weights).bundle_id == GOOD.bundle_id


def test_a_folder_without_a_bundle_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid, match=f"{tmp_path} is no bundle: No such file or directory"):
        Packed.read(tmp_path)


def test_half_a_bundle_is_refused(tmp_path: Path) -> None:
    GOOD.write(tmp_path)
    (tmp_path / WEIGHTS_FILE).unlink()
    with pytest.raises(BundleInvalid, match=WEIGHTS_FILE):
        Packed.read(tmp_path)


# --- damage ----------------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(place=st.integers(0, len(GOOD.weights) - 1), bits=st.integers(1, 255))
def test_a_flipped_byte_anywhere_in_the_weights_is_refused(place: int, bits: int) -> None:
    weights = bytearray(GOOD.weights)
    weights[place] ^= bits
    assert "SHA-256" in refusal(Packed(GOOD.bundle_id, GOOD.manifest, bytes(weights), GOOD.sha256))


@settings(max_examples=1_000)
@given(place=st.integers(0, len(GOOD.manifest) - 1), bits=st.integers(1, 255))
def test_a_flipped_byte_anywhere_in_the_manifest_is_refused(place: int, bits: int) -> None:
    manifest = bytearray(GOOD.manifest)
    manifest[place] ^= bits
    if manifest.split() == GOOD.manifest.split():
        return  # one kind of white space for another
    refusal(Packed(GOOD.bundle_id, bytes(manifest), GOOD.weights, GOOD.sha256))


@given(data=st.data())
def test_a_file_cut_short_anywhere_is_refused(data: st.DataObject) -> None:
    manifest = GOOD.manifest[: data.draw(st.integers(0, len(GOOD.manifest) - 1))]
    refusal(Packed(GOOD.bundle_id, manifest, GOOD.weights, GOOD.sha256))
    weights = GOOD.weights[: data.draw(st.integers(0, len(GOOD.weights) - 1))]
    refusal(Packed(GOOD.bundle_id, GOOD.manifest, weights, GOOD.sha256))
    refusal(honest(fields_of(), weights))


@settings(max_examples=300)
@given(place=st.integers(0, len(GOOD.weights) - 1), bits=st.integers(1, 255))
def test_signed_rubbish_in_the_weights_is_read_or_refused_and_never_another_error(place: int, bits: int) -> None:
    weights = bytearray(GOOD.weights)
    weights[place] ^= bits
    _read_or_refused(honest(fields_of(), bytes(weights)))


@given(manifest=st.binary(max_size=200) | st.text().map(str.encode), weights=st.binary(max_size=200))
def test_noise_is_refused(manifest: bytes, weights: bytes) -> None:
    refusal(Packed("", manifest, weights, ""))
    refusal(honest(fields_of(), weights))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300)
@given(name=st.sampled_from(sorted(set(fields_of()) - {"bundle_id", "weights_sha256", "fleet"})), value=JSON)
def test_any_value_in_any_field_is_read_or_refused_and_never_another_error(name: str, value: object) -> None:
    _read_or_refused(honest(fields_of() | {name: value}, GOOD.weights))


def _read_or_refused(one: Packed) -> None:
    with suppress(BundleInvalid):
        unpack(one)


@pytest.mark.parametrize("manifest", [b"\xff\xfe{}", b"[" * 100_000, b'{"a":' * 100_000, b"", b"null", b"\x00"])
def test_a_manifest_that_is_no_manifest_is_refused(manifest: bytes) -> None:
    assert "manifest can't be read" in refusal(Packed("", manifest, b"", ""))


def test_a_huge_manifest_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(BundleInvalid, match=r"manifest of 2,097,152 bytes; at most 1,048,576 are read"):
        parse_manifest(b" " * (2 << 20))


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "transformer"])
def test_a_manifest_that_claims_a_huge_network_is_refused_before_one_is_built(
    cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sensord.model.bundle.Network", None)
    channels = [{"name": f"c{number}"} for number in range(1_024)]
    claimed = fields_of() | {"hidden": 1_024, "cell": cell, "channels": channels}
    assert "8,388,608 at least" in refusal(honest(claimed, GOOD.weights))


@pytest.mark.parametrize("file", [MANIFEST_FILE, WEIGHTS_FILE, SIGNATURE_FILE])
def test_a_huge_file_is_refused_before_it_is_read(file: str, tmp_path: Path) -> None:
    GOOD.write(tmp_path)
    with (tmp_path / file).open("wb") as sparse:
        sparse.truncate(64 << 30)
    with pytest.raises(BundleInvalid, match=f"{file} has 68,719,476,736 bytes; at most"):
        Packed.read(tmp_path)


# --- well made, and wrong --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "bundle format 2; this version reads 1"),
        ({"spare": 1}, "unknown field `spare`"),
        ({"cell": "abacus"}, "cell 'abacus' is unknown"),
        ({"cell": "gru"}, "expected float32"),
        ({"hidden": 0}, "0 hidden units: out of bounds"),
        ({"hidden": 10**9}, "1000000000 hidden units: out of bounds"),
        ({"channels": []}, "0 channels"),
        ({"channels": [{"name": "heat"}, {"name": "heat"}]}, "channel 'heat' twice"),
        ({"channels": [{"name": "heat"}]}, "expected float32"),
        ({"hidden": 5}, "expected float32"),
        ({"period_s": 0.0}, "period_s"),
        ({"tuning": {"smoothing": 0.0}}, "smoothing"),
        ({"tuning": {"baseline": 0.0}}, "baseline"),
        ({"tuning": {"decay": 1.5}}, "decay"),
        ({"tuning": {"peak_share": -1.0}}, "peak_share"),
        ({"tuning": {"clear_share": 2.0}}, "clear_share"),
        ({"tuning": {"warm_up": 0}}, "warm_up"),
        ({"tuning": {"open_after": 0}}, "open_after"),
        ({"tuning": {"close_after": 1 << 40}}, "close_after"),
    ],
)
def test_a_manifest_out_of_bounds_is_refused_with_the_reason(change: dict[str, object], message: str) -> None:
    assert message in refusal(honest(fields_of() | change, GOOD.weights))


def test_a_manifest_changed_by_hand_is_refused() -> None:
    by_hand = GOOD.manifest.replace(b'"smoothing": 2.0', b'"smoothing": 9.0')
    assert "another content" in refusal(Packed(GOOD.bundle_id, by_hand, GOOD.weights, GOOD.sha256))


def test_weights_of_another_bundle_are_refused() -> None:
    other = packed(seed=1)
    assert "SHA-256" in refusal(Packed(GOOD.bundle_id, GOOD.manifest, other.weights, other.sha256))


@pytest.mark.parametrize("name", sorted(set(tensors_of()) - {"profiles.device_ids"}))
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_not_finite_is_refused_by_name(name: str, value: float) -> None:
    tensors = tensors_of()
    tensors[name].flat[-1] = value
    assert refusal(honest(fields_of(), save(tensors))) == f"tensor {name} has values that aren't finite"


@pytest.mark.parametrize("name", sorted(tensors_of()))
def test_a_missing_tensor_is_refused_by_name(name: str) -> None:
    tensors = tensors_of()
    del tensors[name]
    assert name in refusal(honest(fields_of(), save(tensors)))


@pytest.mark.parametrize("name", sorted(set(tensors_of()) - {"profiles.device_ids"}))
def test_a_tensor_of_another_shape_or_type_is_refused_by_name(name: str) -> None:
    longer = tensors_of()
    longer[name] = np.concatenate((longer[name], longer[name]))
    assert refusal(honest(fields_of(), save(longer))).startswith(f"tensor {name} is float32 (")
    wider = tensors_of()
    wider[name] = wider[name].astype(np.float64)
    assert refusal(honest(fields_of(), save(wider))).startswith(f"tensor {name} is float64 (")


@pytest.mark.parametrize("name", ["profiles.scale", "profiles.threshold"])
@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_scale_or_threshold_that_is_not_positive_is_refused(name: str, value: float) -> None:
    tensors = tensors_of()
    tensors[name].flat[0] = value
    assert "not positive" in refusal(honest(fields_of(), save(tensors)))


@pytest.mark.parametrize("names", [b'["a","a"]', b'["a"]', b'["a",2]', b"[", b"\xff", b"[" * 50_000])
def test_device_ids_that_are_doubled_unreadable_or_too_few_are_refused(names: bytes) -> None:
    tensors = tensors_of() | {"profiles.device_ids": np.frombuffer(names, np.uint8)}
    refusal(honest(fields_of(), save(tensors)))


def header(text: str, body: bytes = b"\0" * 8) -> bytes:
    """Weights with a header of one's own."""
    return len(text).to_bytes(8, "little") + text.encode() + body


@pytest.mark.parametrize(
    "weights",
    [
        header('{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}'),
        header('{"a":{"dtype":"F32","shape":[9223372036854775807],"data_offsets":[0,8]}}'),
        header('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,9223372036854775807]}}'),
        header('{"a":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]}}'),
        header('{"a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}}'),
        header('{"a":{"dtype":"nonsense","shape":[2],"data_offsets":[0,8]}}'),
        header(f'{{"a":{{"dtype":"F32","shape":[{"1," * 99}2],"data_offsets":[0,8]}}}}'),
        header('{"a":' * 50_000),
        b"\xff" * 8 + b"{}",
        b"",
    ],
    ids=["overflow", "huge", "far", "bfloat16", "float8", "no type", "99 dimensions", "deep", "long header", "empty"],
)
def test_a_header_that_claims_the_impossible_is_refused(weights: bytes) -> None:
    assert "can't be read" in refusal(honest(fields_of(), weights))
