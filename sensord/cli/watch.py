"""Builds one daemon out of its settings, and lets it run. Used by `run`."""

import gc
from collections.abc import Callable, Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import structlog
import torch

from sensord.cli.web import served
from sensord.clock import MICROSECONDS, SystemClock
from sensord.daemon.health import Health, HealthServer
from sensord.daemon.loop import FleetRules, Loop, Rules
from sensord.daemon.models import Models
from sensord.daemon.owner import Owner, dead_members
from sensord.daemon.policy import Pace
from sensord.daemon.signals import Stop
from sensord.daemon.supervisor import Supervisor
from sensord.daemon.watchdog import Watchdog
from sensord.detection.alerts import EVENTS, Kind
from sensord.detection.fleet import Limits, make_ready
from sensord.detection.forecast import Bounds
from sensord.errors import BundleInvalid, ModelMissing
from sensord.metrics import Metrics
from sensord.model.signature import TrustedKeys
from sensord.settings import FleetSettings, Settings
from sensord.store.database import check, connect_within, lock_for_daemon, open_engine
from sensord.store.progress import Progress
from sensord.store.registry import Registry
from sensord.stream.dead_letters import Reason
from sensord.stream.formats.decoder import decoder_of
from sensord.stream.kafka import KafkaSource

log = structlog.get_logger()

COLLECT_AFTER = 50_000  # new objects: ten polls full of records


@dataclass(frozen=True, slots=True)
class Accept:
    """What a person has said may be lost."""

    gap: bool = False
    bad: bool = False


def watch(
    settings: Settings,
    accept: Accept,
    stop: Stop,
    supervisor: Supervisor,
    reload: Callable[[], None],
    worker: int = 0,
    page: bool = False,
) -> bool:
    """Build the daemon and let it run until it is asked to stop; True if everything was committed.

    reload: what is to be done when it is asked to reload, beside looking for bundles. worker: which of several on this
    command line it is. page: it serves that too.
    """
    torch.set_num_threads(1)  # a fixed number: scores must not depend on the machine's load
    daemon, clock = settings.daemon, SystemClock()
    trusted = TrustedKeys.read(settings.model.trusted_keys)
    watchdog, metrics = Watchdog(clock, daemon.watchdog_s, on_tick=supervisor.alive), Metrics()
    health = Health(watchdog, metrics)
    with _answering(settings, health, worker, page), lock_for_daemon(settings.store.full_url):
        engine = open_engine(settings.store.full_url)
        try:
            connect_within(engine, daemon.start_timeout_s)
            check(engine)
            models = Models(
                Registry(engine), _demanded_channels(settings), trusted, metrics.refused, metrics.rolled_back
            )
            metrics.expects(settings.fleets, tuple(Kind), EVENTS, tuple(Reason))
            for name, fleet in settings.fleets.items():
                metrics.allows(name, fleet.alarm_budget)
            topics = [topic for fleet in settings.fleets.values() for topic in fleet.topics]
            progress = Progress(engine)
            stored = progress.partitions()
            _make_ready(models, settings.fleets.keys(), {each.fleet for each in stored if each.model_id})
            dead = dead_members([each.owner for each in stored], Owner.this())
            session_s = settings.kafka.session_timeout_s
            # whoever doesn't poll for longer has ended itself by then: the group needn't wait for it any longer
            source = KafkaSource(settings.kafka, topics, daemon.start_timeout_s, session_s, daemon.watchdog_s, dead)
            # a file has one writer at a time: a second thread would only be in the way of the first
            saver = None if settings.store.is_file else ThreadPoolExecutor(1, "saver")
            rules = _rules(settings, accept)
            loop = Loop(source, progress, models, rules, clock, watchdog, metrics, saver=saver)
            _spare_what_stays()
            watchdog.start()
            health.obstacles = lambda: loop.obstacles
            stop.hold()
            log.info("running", topics=topics, store=settings.store.place)
            supervisor.ready()

            def stop_requested() -> bool:
                if stop.take_reload():
                    reload()
                    loop.look_for_bundles()
                supervisor.status("; ".join(loop.obstacles) or f"ready: {len(loop.shards)} partitions")
                if stop.requested:
                    supervisor.stopping()
                return stop.requested

            try:
                return loop.run(stop_requested)
            finally:
                watchdog.stop()
                source.close()
        finally:
            engine.dispose()


@contextmanager
def _answering(settings: Settings, health: Health, worker: int, page: bool) -> Iterator[None]:
    """Answer whoever watches the process, and whoever wants to see the page."""
    http = settings.http
    if not page or http.port is None:
        with HealthServer(health, http.host, http.port, worker):
            yield
        return
    engine = open_engine(settings.store.full_url)  # of its own: the loop waits for nobody who looks
    try:
        with served(settings, engine, health.answer, http.host, http.port and http.port + worker):
            yield
    finally:
        engine.dispose()


def _spare_what_stays() -> None:
    """Tell the collector of cycles that all modules are here for good: to look through them took .4 s, again and again.

    Nor need it look whenever a few hundred records have come: these are no cycles, and go by themselves.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def _make_ready(models: Models, fleets: Set[str], under_way: Set[str]) -> None:
    """Fail now, not at the first partition, where a fleet has nothing to start with; the others go on as they did."""
    for fleet in sorted(fleets):
        try:
            make_ready(models.current(fleet))
        except (BundleInvalid, ModelMissing):
            if fleet not in under_way:
                raise


def _demanded_channels(settings: Settings) -> dict[str, tuple[str, ...]]:
    return {name: tuple(fleet.channels) for name, fleet in settings.fleets.items() if fleet.channels is not None}


def _rules(settings: Settings, accept: Accept) -> Rules:
    daemon = settings.daemon
    fleets = {topic: _fleet_rules(name, fleet) for name, fleet in settings.fleets.items() for topic in fleet.topics}
    pace = Pace(daemon.commit_interval_s, daemon.snapshot_interval_s)
    return Rules(
        fleets,
        Owner.this(),
        pace,
        daemon.poll_timeout_s,
        accept.gap,
        accept.bad,
        probation_s=settings.model.probation_s,
        device=daemon.device,
    )


def _fleet_rules(name: str, fleet: FleetSettings) -> FleetRules:
    bounds = {name: Bounds(limit.low, limit.high) for name, limit in fleet.limits.items()}
    patience = fleet.max_gap_s, fleet.max_episode_s, fleet.silent_periods, fleet.max_future_s
    limits = Limits(*patience, bounds, fleet.horizon_s)
    lateness, span = (round(seconds * MICROSECONDS) for seconds in (fleet.allowed_lateness_s, fleet.align_s))
    return FleetRules(name, limits, fleet.max_devices, partial(decoder_of, fleet), lateness, span)
