"""Bundles for the daemon: verified, kept while in use, and asked for anew at snapshots. Used by `loop`, of which one
thread asks for what is to come while another loads what it needs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from sensord.detection.channels.bank import constants_of
from sensord.detection.drift import wander_of
from sensord.errors import BundleAwaited, BundleInvalid, ModelMissing, StageConflict
from sensord.model.bundle import Bundle, Packed, unpack
from sensord.model.signature import TrustedKeys
from sensord.store.registry import Named, Registry, Stage, StoredBundle

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What devices are to be scored with by now. current: the bundle that counts; shadow: one beside it."""

    current: Bundle
    shadow: Bundle | None


@dataclass(slots=True)
class Models:
    """The registry, seen from the loop. channels: what a fleet's settings demand, in order; absent: whatever comes.

    trusted: keys of which one must have signed whatever is loaded. on_refusal, on_rollback: told the fleet of each
    bundle that was refused, or rolled back.
    """

    registry: Registry
    channels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    trusted: TrustedKeys = field(default_factory=TrustedKeys)
    on_refusal: Callable[[str], None] = lambda fleet: None
    on_rollback: Callable[[str], None] = lambda fleet: None
    _loaded: dict[str, Bundle] = field(default_factory=dict)
    _refused: set[Named] = field(default_factory=set)  # it may yet be signed

    def current(self, fleet: str) -> Bundle:
        """The fleet's current bundle. Raises ModelMissing, BundleInvalid, StoreUnavailable."""
        promoted = self.registry.on_stage(fleet).get(Stage.CURRENT)
        if promoted is not None and (known := self._known(fleet, promoted.bundle_id)):
            return known  # each partition asks, and there may be megabytes of profiles to read
        stored = self.registry.current(fleet)
        if stored is None:
            raise ModelMissing(
                f"fleet {fleet!r} has no current bundle; make one: sensord train --fleet {fleet} --promote FILE..."
            )
        return self._load(fleet, stored)

    def first(self, fleet: str) -> Bundle:
        """The bundle to start with where nothing was read yet. Raises BundleAwaited, StoreUnavailable.

        A fleet whose current bundle is damaged keeps what it reads already with the bundles that it has.
        """
        try:
            return self.current(fleet)
        except BundleInvalid as error:
            self._refuse_once(fleet, self.registry.on_stage(fleet).get(Stage.CURRENT), str(error))
            raise BundleAwaited(str(error)) from error
        except ModelMissing as error:
            raise BundleAwaited(str(error)) from error

    def named(self, fleet: str, bundle_id: str) -> Bundle:
        """A bundle by id. Raises ModelMissing, BundleInvalid, StoreUnavailable."""
        return self._known(fleet, bundle_id) or self._load(fleet, self.registry.get(fleet, bundle_id))

    def _known(self, fleet: str, bundle_id: str) -> Bundle | None:
        known = self._loaded.get(bundle_id)
        return known if known is not None and known.manifest.fleet == fleet else None

    def wanted(self, fleet: str, scoring: Bundle) -> Wanted:
        """What devices that are scored with this bundle are to be scored with. Raises StoreUnavailable.

        A bundle that doesn't fit is refused once, loudly, and everything stays as if it weren't there.
        """
        named = self.registry.on_stage(fleet)
        current = self._fitting(fleet, named.get(Stage.CURRENT), scoring) or scoring
        return Wanted(current, self._fitting(fleet, named.get(Stage.SHADOW), current))

    def beside(self, fleet: str, bundle_id: str, scoring: Bundle) -> Bundle | None:
        """A bundle that was scored beside another one; None where it can't be any more. Raises StoreUnavailable."""
        return self._fitting(fleet, Named(bundle_id, None), scoring)

    def _fitting(self, fleet: str, named: Named | None, scoring: Bundle) -> Bundle | None:
        """A bundle that can take over from, or stand beside, the one that scores."""
        if named is None or named in self._refused:
            return None
        try:
            bundle = self.named(fleet, named.bundle_id)
            if bundle.manifest.channels != scoring.manifest.channels:
                raise BundleInvalid(f"bundle {bundle.id} has other channels or units than {scoring.id}")
        except BundleInvalid as error:
            self._refuse_once(fleet, named, str(error), kept=scoring.id)
            return None
        except ModelMissing as error:
            log.warning("bundle is gone", fleet=fleet, model=named.bundle_id, cause=str(error))
            return None
        return bundle

    def _refuse_once(self, fleet: str, named: Named | None, cause: str, kept: str = "") -> None:
        """Tell it loudly, but not at every try."""
        if named is None or named in self._refused:
            return
        self._refused.add(named)
        self.on_refusal(fleet)
        log.error("bundle refused, the old one stays", fleet=fleet, model=named.bundle_id, kept=kept, cause=cause)

    def condemn(self, fleet: str, bundle_id: str, at: int, by: str, why: str) -> None:
        """Roll a harmful bundle back, unless somebody was faster or wants it. Raises StoreUnavailable."""
        try:
            before = self.registry.condemn(fleet, bundle_id, at, by, why)
        except (StageConflict, ModelMissing) as error:
            log.error("harmful bundle stays", fleet=fleet, model=bundle_id, why=why, cause=str(error))
            return
        log.error(
            "bundle rolled back",
            fleet=fleet,
            model=bundle_id,
            current=before,
            why=why,
            remedy=f"see `sensord model history`; to have it nevertheless: sensord model promote {bundle_id} --force",
        )
        self.on_rollback(fleet)

    def keep_only(self, in_use: set[str]) -> None:
        """Forget loaded bundles that nobody scores with."""
        self._loaded = {name: bundle for name, bundle in self._loaded.items() if name in in_use}

    def _load(self, fleet: str, stored: StoredBundle) -> Bundle:
        if known := self._known(fleet, stored.bundle_id):
            return known
        self.trusted.check(stored.bundle_id, stored.manifest, stored.signature)  # before anything of it is parsed
        bundle = unpack(Packed(stored.bundle_id, stored.manifest, stored.weights, stored.sha256))
        if (bundle.manifest.fleet, bundle.id) != (fleet, stored.bundle_id):
            raise BundleInvalid(
                f"published as bundle {stored.bundle_id} of fleet {fleet!r} is {bundle.id} of fleet "
                f"{bundle.manifest.fleet!r}; import the right one: sensord model import FOLDER"
            )
        constants_of(bundle.profiles.events, len(bundle.channels))  # refuses what a fleet couldn't score with
        wander_of(bundle.profiles.events, len(bundle.channels))
        wanted = self.channels.get(fleet)
        if wanted is not None and bundle.channels != wanted:
            raise BundleInvalid(
                f"bundle {bundle.id} has channels {', '.join(bundle.channels)}; the settings of fleet {fleet!r} "
                f"demand {', '.join(wanted)}"
            )
        self._loaded[bundle.id] = bundle
        log.info("bundle loaded", fleet=fleet, model=bundle.id, devices=bundle.manifest.history.devices)
        return bundle
