"""Bundles for the daemon: verified, kept while in use, and asked for anew at snapshots. Used by `loop`."""

from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from sensord.detection.channels.bank import constants_of
from sensord.errors import BundleAwaited, BundleInvalid, ModelMissing
from sensord.model.bundle import Bundle, Packed, unpack
from sensord.model.signature import TrustedKeys
from sensord.store.registry import Registry, StoredBundle

log = structlog.get_logger()


@dataclass(slots=True)
class Models:
    """The registry, seen from the loop. channels: what a fleet's settings demand, in order; absent: whatever comes.

    trusted: keys of which one must have signed whatever is loaded. on_refusal: told the fleet of each refused bundle.
    """

    registry: Registry
    channels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    trusted: TrustedKeys = field(default_factory=TrustedKeys)
    on_refusal: Callable[[str], None] = lambda fleet: None
    _loaded: dict[str, Bundle] = field(default_factory=dict)
    _refused: set[tuple[str, str | None]] = field(default_factory=set)  # by id and signature: it may yet be signed

    def current(self, fleet: str) -> Bundle:
        """The fleet's current bundle. Raises ModelMissing, BundleInvalid, StoreUnavailable."""
        promoted = self.registry.current_signed(fleet)
        if promoted is not None and (known := self._known(fleet, promoted[0])):
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
            self._refuse_once(fleet, self.registry.current_signed(fleet), str(error))
            raise BundleAwaited(str(error)) from error
        except ModelMissing as error:
            raise BundleAwaited(str(error)) from error

    def named(self, fleet: str, bundle_id: str) -> Bundle:
        """A bundle by id. Raises ModelMissing, BundleInvalid, StoreUnavailable."""
        return self._known(fleet, bundle_id) or self._load(fleet, self.registry.get(fleet, bundle_id))

    def _known(self, fleet: str, bundle_id: str) -> Bundle | None:
        known = self._loaded.get(bundle_id)
        return known if known is not None and known.manifest.fleet == fleet else None

    def newer(self, fleet: str, current: Bundle) -> Bundle | None:
        """The bundle to swap to, if another one was promoted that fits; one that doesn't is refused once, loudly."""
        promoted = self.registry.current_signed(fleet)
        if promoted is None or promoted[0] == current.id or promoted in self._refused:
            return None
        wanted = promoted[0]
        try:
            bundle = self.named(fleet, wanted)
            if bundle.manifest.channels != current.manifest.channels:
                raise BundleInvalid(f"bundle {wanted} has other channels or units than {current.id}")
        except BundleInvalid as error:
            self._refuse_once(fleet, promoted, str(error), kept=current.id)
            return None
        return bundle

    def _refuse_once(self, fleet: str, promoted: tuple[str, str | None] | None, cause: str, kept: str = "") -> None:
        """Tell it loudly, but not at every try."""
        if promoted is None or promoted in self._refused:
            return
        self._refused.add(promoted)
        self.on_refusal(fleet)
        log.error("bundle refused, the old one stays", fleet=fleet, model=promoted[0], kept=kept, cause=cause)

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
        wanted = self.channels.get(fleet)
        if wanted is not None and bundle.channels != wanted:
            raise BundleInvalid(
                f"bundle {bundle.id} has channels {', '.join(bundle.channels)}; the settings of fleet {fleet!r} "
                f"demand {', '.join(wanted)}"
            )
        self._loaded[bundle.id] = bundle
        log.info("bundle loaded", fleet=fleet, model=bundle.id, devices=bundle.manifest.history.devices)
        return bundle
