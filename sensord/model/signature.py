"""Ed25519 signatures of bundles: who made it, where the SHA-256 only says that it is whole. Used by `daemon` and `cli`.

What is signed is the manifest, byte for byte; it vouches for the weights. A signature is verified before anything of
the bundle is parsed. Keys are PEM files, as openssl makes them: `openssl genpkey -algorithm ed25519`.
"""

import base64
import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Self

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from sensord.errors import BundleUntrusted, SettingsInvalid

SIGNATURE_FORMAT = 1
SIGNATURE_LIMIT = 1_024  # bytes of a stored signature
KEY_FILE_LIMIT = 16 << 10  # bytes
PURPOSE = b"sensord bundle manifest\n"  # a signature for something else is none for this
OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A signature as it is stored. key: the id of the key that made it. signature: base64."""

    format_version: int
    key: Annotated[str, msgspec.Meta(max_length=64)]
    signature: Annotated[str, msgspec.Meta(max_length=128)]


class SigningKey:
    """A private key, from a file that nobody else can read."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def read(cls, file: Path) -> Self:
        """Raises SettingsInvalid, which never says what is in the file."""
        pem = _bytes_of(file, "private")
        if file.stat().st_mode & OTHERS:
            raise SettingsInvalid(f"private key {file} can be read by others: chmod 600 {file}, or make a new one")
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise SettingsInvalid(f"{file} is no private key without a password, in PEM") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise SettingsInvalid(f"private key {file} is not for Ed25519: make one with `sensord model keygen`")
        return cls(key)

    @classmethod
    def make(cls, file: Path) -> Self:
        """A new key into a new file that is its owner's alone, the public one beside it as FILE.pub. Raises OSError."""
        made = cls(Ed25519PrivateKey.generate())
        private = made._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        public = made._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        for path, pem, mode in ((file, private, 0o600), (public_file(file), public, 0o644)):
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
                stream.write(pem)
        return made

    @property
    def id(self) -> str:
        return key_id(self._key.public_key())

    def sign(self, manifest: bytes) -> bytes:
        """The signature to store beside this manifest; the same key and manifest give the same bytes."""
        signature = base64.b64encode(self._key.sign(PURPOSE + manifest)).decode()
        return msgspec.json.encode(Signature(SIGNATURE_FORMAT, self.id, signature))


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """Public keys by id. Without any, no signature is demanded."""

    keys: Mapping[str, Ed25519PublicKey] = field(default_factory=dict)

    @classmethod
    def read(cls, files: Sequence[Path]) -> Self:
        """Raises SettingsInvalid."""
        keys = [_public_key(file) for file in files]
        return cls({key_id(key): key for key in keys})

    def check(self, bundle_id: str, manifest: bytes, signature: bytes | None) -> str | None:
        """The id of the trusted key that signed this manifest; None where none is demanded. Raises BundleUntrusted."""
        if not self.keys:
            return None
        trusted = f"trusted are {', '.join(sorted(self.keys))} (model.trusted_keys)"
        remedy = f"sign it with one of their private keys: sensord model sign {bundle_id} --key FILE"
        if signature is None:
            raise BundleUntrusted(f"bundle {bundle_id} has no signature; {trusted}; {remedy}")
        found = parse_signature(bundle_id, signature)
        key = self.keys.get(found.key)
        if key is None:
            raise BundleUntrusted(f"bundle {bundle_id} is signed by key {found.key!a}; {trusted}; {remedy}")
        try:
            key.verify(_decoded(found.signature), PURPOSE + manifest)
        except InvalidSignature:
            raise BundleUntrusted(
                f"bundle {bundle_id} is not what key {found.key} has signed: its manifest or its signature was "
                f"changed; take it from where it was made, or {remedy}"
            ) from None
        return found.key


def parse_signature(bundle_id: str, signature: bytes) -> Signature:
    """What a stored signature says; not verified. Raises BundleUntrusted."""
    if len(signature) > SIGNATURE_LIMIT:
        raise BundleUntrusted(f"bundle {bundle_id}: signature of {len(signature):,} bytes; {SIGNATURE_LIMIT:,} at most")
    try:
        found = msgspec.json.decode(signature, type=Signature)
    except (ValueError, RecursionError) as error:
        raise BundleUntrusted(f"bundle {bundle_id}: signature can't be read: {error}") from error
    if found.format_version != SIGNATURE_FORMAT:
        raise BundleUntrusted(
            f"bundle {bundle_id}: signature format {found.format_version}; this version reads {SIGNATURE_FORMAT}"
        )
    return found


def key_id(key: Ed25519PublicKey) -> str:
    """A short name for a key, derived from it."""
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return f"ed25519-{hashlib.sha256(raw).hexdigest()[:16]}"


def public_file(private: Path) -> Path:
    """Where `make` puts the public key."""
    return private.with_name(private.name + ".pub")


def _public_key(file: Path) -> Ed25519PublicKey:
    pem = _bytes_of(file, "public")
    if b"PRIVATE KEY" in pem:
        raise SettingsInvalid(f"trusted key {file} is a private key: keep it secret, and name its public half here")
    try:
        key = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SettingsInvalid(f"trusted key {file} is no public key in PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsInvalid(f"trusted key {file} is not for Ed25519: make one with `sensord model keygen`")
    return key


def _bytes_of(file: Path, kind: str) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(KEY_FILE_LIMIT)
    except OSError as error:
        raise SettingsInvalid(f"{kind} key {file} can't be read: {error.strerror}") from error


def _decoded(text: str) -> bytes:
    """The bytes of base64; none where it is no base64, which then verifies as nothing."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""
