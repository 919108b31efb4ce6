"""Promises of signatures: only what a trusted key has signed passes, and the private key stays where it is."""

import base64
import subprocess
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensord.errors import EXIT_NEEDS_A_PERSON, BundleUntrusted, SettingsInvalid
from sensord.model.bundle import SIGNATURE_FILE, Packed
from sensord.model.signature import SIGNATURE_LIMIT, SigningKey, TrustedKeys, public_file
from tests.builders import packed

GOOD = packed()
Keys = tuple[SigningKey, Path]


@pytest.fixture
def key(tmp_path: Path) -> Keys:
    """A key, and the file of its public half."""
    return SigningKey.make(tmp_path / "signing.pem"), tmp_path / "signing.pem.pub"


def refusal(trusted: TrustedKeys, manifest: bytes, signature: bytes | None) -> str:
    with pytest.raises(BundleUntrusted) as caught:
        trusted.check(GOOD.bundle_id, manifest, signature)
    assert caught.value.exit_code == EXIT_NEEDS_A_PERSON
    assert GOOD.bundle_id in str(caught.value)
    return str(caught.value)


def test_what_a_trusted_key_signed_passes_and_names_the_key(key: Keys) -> None:
    signing, public = key
    trusted = TrustedKeys.read([public])
    assert trusted.check(GOOD.bundle_id, GOOD.manifest, signing.sign(GOOD.manifest)) == signing.id


def test_a_key_of_openssl_s_making_signs_too(tmp_path: Path) -> None:
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    private.chmod(0o600)
    signature = SigningKey.read(private).sign(GOOD.manifest)
    assert TrustedKeys.read([public]).check(GOOD.bundle_id, GOOD.manifest, signature)


def test_without_trusted_keys_no_signature_is_demanded() -> None:
    assert TrustedKeys().check(GOOD.bundle_id, GOOD.manifest, None) is None
    assert TrustedKeys().check(GOOD.bundle_id, GOOD.manifest, b"rubbish") is None


def test_an_unsigned_bundle_is_refused_with_key_and_remedy(key: Keys) -> None:
    signing, public = key
    said = refusal(TrustedKeys.read([public]), GOOD.manifest, None)
    assert "has no signature" in said
    assert signing.id in said
    assert f"sensord model sign {GOOD.bundle_id} --key FILE" in said


def test_a_bundle_signed_by_a_stranger_is_refused_with_both_keys(key: Keys, tmp_path: Path) -> None:
    stranger = SigningKey.make(tmp_path / "stranger.pem")
    said = refusal(TrustedKeys.read([key[1]]), GOOD.manifest, stranger.sign(GOOD.manifest))
    assert stranger.id in said
    assert key[0].id in said


def test_a_stranger_who_claims_to_be_a_trusted_key_is_refused(key: Keys, tmp_path: Path) -> None:
    stranger = SigningKey.make(tmp_path / "stranger.pem")
    fields = msgspec.json.decode(stranger.sign(GOOD.manifest)) | {"key": key[0].id}
    assert "was changed" in refusal(TrustedKeys.read([key[1]]), GOOD.manifest, msgspec.json.encode(fields))


def test_a_signature_of_another_bundle_is_refused(key: Keys) -> None:
    signing, public = key
    said = refusal(TrustedKeys.read([public]), GOOD.manifest, signing.sign(packed(seed=1).manifest))
    assert "was changed" in said


def test_a_signature_over_the_bare_manifest_is_none_for_a_bundle(key: Keys, tmp_path: Path) -> None:
    """Who signs files for another purpose with the same key has signed no bundle."""
    bare = tmp_path / "manifest.json"
    bare.write_bytes(GOOD.manifest)
    command = ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", str(tmp_path / "signing.pem"), "-in", str(bare)]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    fields = {"format_version": 1, "key": key[0].id, "signature": base64.b64encode(raw).decode()}
    assert "was changed" in refusal(TrustedKeys.read([key[1]]), GOOD.manifest, msgspec.json.encode(fields))


@given(data=st.data())
def test_a_flipped_byte_in_manifest_or_signature_is_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("key") / "signing.pem"
    signing = SigningKey.make(file)
    trusted = TrustedKeys.read([public_file(file)])
    signature = signing.sign(GOOD.manifest)
    for changed_manifest in (True, False):
        damaged = bytearray(GOOD.manifest if changed_manifest else signature)
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
        if changed_manifest:
            refusal(trusted, bytes(damaged), signature)
        else:
            refusal(trusted, GOOD.manifest, bytes(damaged))


@given(signature=st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_noise_in_place_of_a_signature_is_refused(signature: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("key") / "signing.pem"
    SigningKey.make(file)
    refusal(TrustedKeys.read([public_file(file)]), GOOD.manifest, signature)


@pytest.mark.parametrize("signature", [b"[" * 1_000, b"\xff", b"", b"null", b" " * (SIGNATURE_LIMIT + 1)])
def test_a_signature_that_is_none_is_refused_by_name(key: Keys, signature: bytes) -> None:
    assert "signature" in refusal(TrustedKeys.read([key[1]]), GOOD.manifest, signature)


def test_a_signature_of_a_newer_format_is_refused(key: Keys) -> None:
    fields = msgspec.json.decode(key[0].sign(GOOD.manifest)) | {"format_version": 2}
    assert "format 2" in refusal(TrustedKeys.read([key[1]]), GOOD.manifest, msgspec.json.encode(fields))


def test_the_signature_travels_with_the_files(key: Keys, tmp_path: Path) -> None:
    signature = key[0].sign(GOOD.manifest)
    signed = Packed(GOOD.bundle_id, GOOD.manifest, GOOD.weights, GOOD.sha256, signature)
    signed.write(tmp_path / "bundle")
    assert Packed.read(tmp_path / "bundle") == signed
    assert (tmp_path / "bundle" / SIGNATURE_FILE).read_bytes() == signature


# --- key files -------------------------------------------------------------------------------------------------------


def test_a_new_key_is_its_owner_s_alone_and_replaces_nothing(key: Keys, tmp_path: Path) -> None:
    assert (tmp_path / "signing.pem").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        SigningKey.make(tmp_path / "signing.pem")
    assert SigningKey.read(tmp_path / "signing.pem").id == key[0].id


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_private_key_that_others_can_read_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "signing.pem"
    file.chmod(mode)
    with pytest.raises(SettingsInvalid, match=f"{file} can be read by others: chmod 600"):
        SigningKey.read(file)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["genpkey", "-algorithm", "rsa"], "not for Ed25519"),
        (["genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:hunter2-of-the-sea"], "without a password"),
        (["genpkey", "-algorithm", "x25519"], "not for Ed25519"),
    ],
)
def test_a_key_of_another_kind_is_refused_without_a_word_of_it(tmp_path: Path, arguments: list[str], said: str) -> None:
    file = tmp_path / "key.pem"
    subprocess.run(["openssl", *arguments, "-out", file], check=True, capture_output=True)
    file.chmod(0o600)
    with pytest.raises(SettingsInvalid, match=said) as caught:
        SigningKey.read(file)
    lines = file.read_text().splitlines()
    assert not [line for line in lines if not line.startswith("---") and line in str(caught.value)]


def test_a_private_key_among_the_trusted_ones_is_refused(key: Keys, tmp_path: Path) -> None:
    assert key
    with pytest.raises(SettingsInvalid, match="is a private key: keep it secret"):
        TrustedKeys.read([tmp_path / "signing.pem"])


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_a_trusted_key_that_is_none_is_refused_by_file(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "public.pem"
    file.write_bytes(content)
    with pytest.raises(SettingsInvalid, match=f"{file} is no public key"):
        TrustedKeys.read([file])


def test_a_key_says_nothing_about_itself_in_its_repr(key: Keys, tmp_path: Path) -> None:
    lines = (tmp_path / "signing.pem").read_text().splitlines()[1:-1]
    assert not [line for line in lines if line in repr(key[0]) + str(vars(key[0]))]
