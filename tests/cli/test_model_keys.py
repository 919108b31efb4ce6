"""Promises of `sensord model keygen`, `sign` and `verify`, and of settings that demand signatures."""

import json
from pathlib import Path

import pytest

from sensord.model.bundle import SIGNATURE_FILE
from tests.builders import packed
from tests.cli.rows import Ended, Sensord

BUNDLE = packed(seed=1)


@pytest.fixture
def signed_by(on_rows: Sensord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sensord:
    """As `on_rows`, with a key `own`, which is trusted, a key `other`, and BUNDLE published, unsigned."""
    monkeypatch.setenv("SENSORD_FLEETS__PUMPS__TOPICS", '["sensors.pumps"]')
    for name in ("own", "other"):
        assert on_rows("model", "keygen", name).code == 0
    BUNDLE.write(tmp_path / "bundle")
    assert on_rows("model", "import", "bundle").code == 0
    monkeypatch.setenv("SENSORD_MODEL__TRUSTED_KEYS", json.dumps([str(tmp_path / "own.pub")]))
    return on_rows


def refused(ended: Ended, *words: str) -> None:
    assert (ended.code, ended.out) == (78, "")
    for word in (BUNDLE.bundle_id, "ed25519-", *words):
        assert word in ended.err


def test_a_signed_bundle_verifies_and_may_be_promoted(signed_by: Sensord) -> None:
    assert signed_by("model", "sign", BUNDLE.bundle_id, "--key", "own").code == 0
    ended = signed_by("model", "verify", BUNDLE.bundle_id)
    assert (ended.code, ended.err) == (0, "")
    assert "which is trusted" in ended.out
    assert signed_by("model", "promote", BUNDLE.bundle_id).code == 0
    [row] = json.loads(signed_by("model", "list", "--format", "json").out)
    assert row["stage"] == "current"
    assert "ed25519-" in row["signature"]


def test_an_unsigned_bundle_is_neither_verified_nor_promoted(signed_by: Sensord) -> None:
    refused(signed_by("model", "verify", BUNDLE.bundle_id), "no signature", "sensord model sign")
    refused(signed_by("model", "promote", BUNDLE.bundle_id), "no signature", "sensord model sign")
    refused(signed_by("model", "import", "bundle", "--promote"), "no signature", "sensord model sign")
    [row] = json.loads(signed_by("model", "list", "--format", "json").out)
    assert row["stage"] == "candidate"


def test_a_bundle_of_another_key_is_neither_verified_nor_promoted(signed_by: Sensord) -> None:
    assert signed_by("model", "sign", BUNDLE.bundle_id, "--key", "other").code == 0
    refused(signed_by("model", "verify", BUNDLE.bundle_id), "is signed by key", "model.trusted_keys")
    refused(signed_by("model", "promote", BUNDLE.bundle_id), "is signed by key")
    assert signed_by("model", "verify", BUNDLE.bundle_id, "--trusted-key", "other.pub").code == 0


def test_a_signature_made_in_a_folder_comes_in_with_the_bundle_and_goes_out_with_it(
    signed_by: Sensord, tmp_path: Path
) -> None:
    assert signed_by("model", "sign", "--folder", "bundle", "--key", "own").code == 0
    assert signed_by("model", "verify", "--folder", "bundle").code == 0
    assert signed_by("model", "import", "bundle", "--promote").code == 0
    assert signed_by("model", "verify").code == 0
    assert signed_by("model", "export", "current", "out").code == 0
    assert (tmp_path / "out" / SIGNATURE_FILE).read_bytes() == (tmp_path / "bundle" / SIGNATURE_FILE).read_bytes()


def test_importing_again_without_a_signature_takes_none_away(signed_by: Sensord, tmp_path: Path) -> None:
    assert signed_by("model", "sign", BUNDLE.bundle_id, "--key", "own").code == 0
    assert signed_by("model", "import", "bundle").code == 0
    assert signed_by("model", "verify", BUNDLE.bundle_id).code == 0


def test_a_damaged_bundle_is_not_signed(signed_by: Sensord, tmp_path: Path) -> None:
    weights = tmp_path / "bundle" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    ended = signed_by("model", "sign", "--folder", "bundle", "--key", "own")
    assert ended.code == 78
    assert "SHA-256" in ended.err
    assert not (tmp_path / "bundle" / SIGNATURE_FILE).exists()


def test_a_private_key_that_others_can_read_signs_nothing(signed_by: Sensord, tmp_path: Path) -> None:
    (tmp_path / "own").chmod(0o644)
    ended = signed_by("model", "sign", BUNDLE.bundle_id, "--key", "own")
    assert ended.code == 78
    assert "chmod 600" in ended.err


def test_a_new_key_overwrites_nothing(signed_by: Sensord, tmp_path: Path) -> None:
    before = (tmp_path / "own").read_bytes()
    ended = signed_by("model", "keygen", "own")
    assert ended.code != 0
    assert (tmp_path / "own").read_bytes() == before


def test_a_trusted_key_that_is_none_fails_the_check_of_the_settings(signed_by: Sensord, tmp_path: Path) -> None:
    (tmp_path / "own.pub").write_text("no key")
    ended = signed_by("check-config")
    assert ended.code == 78
    assert str(tmp_path / "own.pub") in ended.err


def test_training_for_promotion_is_refused_at_once_where_its_bundle_would_be(
    signed_by: Sensord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "history.csv").write_text("device_id,timestamp,heat\n")
    ended = signed_by("train", "history.csv", "--promote")
    assert ended.code == 78
    assert "trainer.signing_key" in ended.err
    monkeypatch.setenv("SENSORD_TRAINER__SIGNING_KEY", str(tmp_path / "other"))
    assert "trainer.signing_key" in signed_by("train", "history.csv", "--promote").err
    monkeypatch.setenv("SENSORD_TRAINER__SIGNING_KEY", str(tmp_path / "own"))
    assert signed_by("train", "history.csv", "--promote").code == 1  # there is nothing to learn from
