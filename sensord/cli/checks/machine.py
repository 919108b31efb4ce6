"""The machine: room for files, and for compiled code. And the settings, as far as they can be tried here."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sensord import compiled
from sensord.cli.checks.findings import Finding, failure, warning, well
from sensord.errors import SettingsInvalid
from sensord.model.signature import SigningKey, TrustedKeys
from sensord.settings import Settings

AREA = "machine"
LITTLE = 1 << 30  # bytes: an afternoon of dead letters, or a small history
NO_FLEET = 'add [fleets.NAME] with topics = ["TOPIC"] to sensord.toml'


def look(settings: Settings) -> Iterator[Finding]:
    """Settings, keys, compiled code, folder of temporary files."""
    if settings.fleets:
        yield well(AREA, "settings", f"fleets {', '.join(sorted(settings.fleets))}")
    else:
        yield failure(AREA, "settings", "no fleet is set", NO_FLEET)
    yield from _keys(settings)
    if compiled.FOLDER is None:
        yield warning(
            AREA,
            "compiled code",
            "can't be kept: every start compiles anew, for a minute or two",
            f"make {compiled.HOUSE / '__pycache__'} or ~/.cache writable for this user, and for no other",
        )
    else:
        yield well(AREA, "compiled code", f"kept in {compiled.FOLDER}")
    yield room(
        AREA, "temporary files", Path(tempfile.gettempdir()), "`sensord train` needs it: choose another: TMPDIR="
    )


def room(area: str, subject: str, folder: Path, remedy: str) -> Finding:
    """How much a folder's disk has left."""
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:.1f} GB free in {folder}"
    return warning(area, subject, found, remedy) if free < LITTLE else well(area, subject, found)


def _keys(settings: Settings) -> Iterator[Finding]:
    """Files that hold no key, or that others could read."""
    trusted, own = settings.model.trusted_keys, settings.trainer.signing_key
    try:
        if trusted:
            TrustedKeys.read(trusted)
            yield well(AREA, "model.trusted_keys", f"{len(trusted)} to verify bundles with")
        if own is not None:
            SigningKey.read(own)
            yield well(AREA, "trainer.signing_key", "new bundles are signed")
    except SettingsInvalid as error:
        yield failure(AREA, "keys", str(error), "sensord model keygen")
