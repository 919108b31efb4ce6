"""What the page is made from. Built by `cli`, read by `app` and `pages`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sensord.clock import Clock
from sensord.settings import FleetSettings
from sensord.store import Engine
from sensord.web.access import Access
from sensord.web.standing import Standing

Probe = Callable[[str], tuple[int, bytes, str] | None]  # a path into status, body and kind; None: no probe's path


@dataclass(frozen=True, slots=True)
class Site:
    """probe: what whoever watches the process asks. loopback: it is reached from this machine alone."""

    engine: Engine
    fleets: Mapping[str, FleetSettings]
    access: Access
    clock: Clock
    standing: Callable[[], Standing]
    probe: Probe
    loopback: bool
