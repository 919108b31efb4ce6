"""`sensord notify`: has alerts leave the system: incidents, notices, sinks."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import click
import structlog

from sensord.cli.context import engine_of, settings_of
from sensord.clock import SystemClock
from sensord.daemon.health import Health, HealthServer
from sensord.daemon.signals import Stop
from sensord.daemon.supervisor import Supervisor
from sensord.daemon.watchdog import Watchdog
from sensord.detection.alerts import Severity, Status
from sensord.errors import EXIT_FAILURE, NotFound, SettingsInvalid, StoreUnavailable
from sensord.metrics import NotifierMetrics
from sensord.notify.dispatch import LOOK_EVERY_S, OUTCOMES, Dispatcher, start
from sensord.notify.message import Message
from sensord.notify.sinks import NotTaken, Refused, Sink, build
from sensord.settings import Settings, SinkSettings, supervisor_socket
from sensord.store import Engine
from sensord.store.database import Leader
from sensord.store.incidents import IncidentRow, Notice, take_events
from sensord.store.notices import NoticeRow, Wanted, enlist
from sensord.store.schema import instant

log = structlog.get_logger()

DRAIN_S = 15.0
NONE = 'no sink is set: add [sinks.NAME] with kind = "webhook" and url = "https://..." to the settings'


@click.command("notify")
@click.option("--once", is_flag=True, help="Tell what is due, and end; for cron.")
@click.option(
    "--test", "tested", metavar="NAME", help="Send a notice about nothing to this sink, and say what it says."
)
@click.pass_context
def notify(ctx: click.Context, once: bool, tested: str | None) -> None:
    """Tell sinks of alerts: webhooks, Alertmanager, a Kafka topic, whatever apprise reaches.

    Alerts of a fleet with one cause are one incident, told when it opens, becomes critical, and is over. At least once,
    in order, however long a sink is away. One process does it; a second one waits until the first is gone.
    """
    settings = settings_of(ctx)
    if not settings.sinks:
        raise SettingsInvalid(NONE)
    if tested is not None:
        _test(settings, tested)
        return
    supervisor, stop, metrics = Supervisor(supervisor_socket(), SystemClock()), Stop(DRAIN_S), NotifierMetrics()
    metrics.expects(settings.sinks, OUTCOMES)
    watchdog = Watchdog(SystemClock(), settings.daemon.watchdog_s, on_tick=supervisor.alive)
    health = Health(watchdog, metrics)
    if not once:
        stop.listen()
    with ExitStack() as stack:
        if not once:
            stack.enter_context(HealthServer(health, settings.http.host, settings.notify.port, setting="notify.port"))
        engine = stack.enter_context(engine_of(settings.store, settings.daemon.start_timeout_s))
        leader = Leader(engine, settings.store.full_url)
        stack.callback(leader.close)
        sinks = {name: stack.enter_context(_sink(settings, name)) for name in settings.sinks}
        ended = threading.Event()
        dispatchers = [_dispatcher(settings, engine, name, sink, ended, metrics) for name, sink in sinks.items()]
        supervisor.ready()
        if once:
            ctx.exit(_once(settings, engine, leader, dispatchers))
        stop.hold()
        watchdog.start()
        stack.callback(watchdog.stop)
        obstacles: list[str] = []
        health.obstacles = lambda: obstacles
        for leads in _turns(settings, engine, leader, dispatchers, stop, obstacles, ended):
            watchdog.tick()
            metrics.leads.set(leads)
            told = ", ".join(sorted(settings.sinks))
            supervisor.status("; ".join(obstacles) or (f"tells {told}" if leads else "another process tells the sinks"))
        supervisor.stopping()


def _once(settings: Settings, engine: Engine, leader: Leader, dispatchers: Sequence[Dispatcher]) -> int:
    """0 where nothing is left to try again."""
    if not leader.take():
        log.info("another process tells the sinks")
        return 0
    while take_events(engine, instant(SystemClock().now()), timedelta(seconds=settings.notify.forget_s)):
        pass
    pauses = [each.turn() for each in dispatchers]  # each of them, whatever the first one comes to
    return 0 if pauses == [LOOK_EVERY_S] * len(pauses) else EXIT_FAILURE


def _turns(
    settings: Settings,
    engine: Engine,
    leader: Leader,
    dispatchers: Sequence[Dispatcher],
    stop: Stop,
    obstacles: list[str],
    ended: threading.Event,
) -> Iterator[bool]:
    """Take events as they come, and let the sinks' threads send, until asked to stop; yields at every turn whether it
    is this process that tells. obstacles: what is in its way goes there."""
    threads: list[threading.Thread] = []
    clock, forget = SystemClock(), timedelta(seconds=settings.notify.forget_s)
    while not stop.requested:
        try:
            if leader.take():
                if not threads:
                    log.info("telling", sinks=sorted(settings.sinks), store=settings.store.place)
                    threads = start(dispatchers)
                take_events(engine, instant(clock.now()), forget)
            obstacles.clear()
        except StoreUnavailable as error:
            if threads:
                raise  # somebody else may lead by now: begin anew
            log.error("database unavailable", cause=str(error))
            obstacles[:] = ["the database is away"]
        yield bool(threads)
        ended.wait(LOOK_EVERY_S)
    ended.set()
    for thread in threads:
        thread.join(DRAIN_S / 2)


def _dispatcher(
    settings: Settings, engine: Engine, name: str, sink: Sink, ended: threading.Event, metrics: NotifierMetrics
) -> Dispatcher:
    one = settings.sinks[name]
    enlist(engine, name)
    wait_s, clock = settings.notify.group_wait_s, SystemClock()
    return Dispatcher(engine, wanted_of(name, one), sink, wait_s, clock, ended.wait, one.resend_s, metrics)


def wanted_of(name: str, sink: SinkSettings) -> Wanted:
    """What a sink is told, by its settings."""
    return Wanted(name, sink.fleets, Severity(sink.least_severity), sink.resolved)


@contextmanager
def _sink(settings: Settings, name: str) -> Iterator[Sink]:
    one = settings.sinks[name]
    if one.kind != "kafka" or one.topic is None:
        yield build(name, one)
        return
    from sensord.stream.publisher import Writer  # noqa: PLC0415  # a second, where a topic is told

    with Writer(settings.kafka, one.topic, one.timeout_s) as writer:
        yield build(name, one, writer.write)


def _test(settings: Settings, name: str) -> None:
    if name not in settings.sinks:
        raise NotFound(f"no sink is called {name!r}; there are: {', '.join(sorted(settings.sinks))}")
    now = instant(SystemClock().now())
    incident = IncidentRow(0, "test", Status.CLOSED, Severity.WARNING, now, now, 0, 0)
    notice = NoticeRow(0, 0, "test", Notice.OPENED, Severity.WARNING, now, now)
    with _sink(settings, name) as sink:
        try:
            sink.send(Message(notice, incident, ()), now)
        except (NotTaken, Refused) as error:
            click.echo(f"{name}: {error}", err=True)
            raise SystemExit(EXIT_FAILURE) from error
    click.echo(f"{name}: taken")
