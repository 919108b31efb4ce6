"""The registry: has every fleet a bundle, that loads, is trusted and fits the settings."""

from collections.abc import Iterator

from sensord.cli.checks.findings import Finding, failure, warning, well
from sensord.clock import MICROSECONDS, SystemClock
from sensord.daemon.models import Models
from sensord.errors import BundleInvalid, ModelMissing
from sensord.model.signature import TrustedKeys
from sensord.settings import Settings
from sensord.store import Engine
from sensord.store.registry import Registry, Stage

AREA = "bundle"
DAY_US = 86_400 * MICROSECONDS


def look(settings: Settings, engine: Engine) -> Iterator[Finding]:
    """Each fleet's current bundle, loaded as the daemon would. Raises StoreUnavailable, SettingsInvalid."""
    registry = Registry(engine)
    demanded = {name: fleet.channels for name, fleet in settings.fleets.items() if fleet.channels is not None}
    models = Models(registry, demanded, TrustedKeys.read(settings.model.trusted_keys))
    for fleet in settings.fleets:
        yield _current(models, fleet, settings.trainer.max_age_days)
    for row in registry.list():
        if row.stage is Stage.CURRENT and row.fleet not in settings.fleets:
            found = f"{row.bundle_id} is current, and no settings name this fleet"
            yield warning(AREA, row.fleet, found, f"add [fleets.{row.fleet}] to sensord.toml, if that is meant")


def _current(models: Models, fleet: str, max_age_days: float) -> Finding:
    again = f"sensord train --fleet {fleet} --since 14d --if-needed --promote"
    try:
        bundle = models.current(fleet)
    except ModelMissing:
        return failure(AREA, fleet, "no bundle is current", f"sensord train --fleet {fleet} --promote FILE...")
    except BundleInvalid as error:
        return failure(AREA, fleet, str(error), f"sensord model rollback --fleet {fleet}, or train anew")
    learnt = bundle.manifest.history
    age_days = (SystemClock().now() - learnt.last_at) / DAY_US
    size = f"{len(bundle.channels)} channels, {learnt.devices} devices"
    found = f"{bundle.id}: {size}, learnt up to {age_days:.0f} days ago"
    return warning(AREA, fleet, found, again) if age_days > max_age_days else well(AREA, fleet, found)
