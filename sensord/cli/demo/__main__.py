"""`scripts/demo`: simulate, train, run the daemon, replay into it, stop it, and hold its alerts against the truth."""

import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from sensord.cli.context import engine_of
from sensord.cli.demo.findings import Findings, gather
from sensord.cli.demo.processes import Daemon, command, embedded_broker, script
from sensord.cli.demo.report import page
from sensord.cli.demo.stage import CHECKOUT, PARTITIONS, SCRIPTS, Stage
from sensord.cli.demo.table import print_table
from sensord.cli.demo.truth import Truth, cut_live, read_truth
from sensord.cli.main import EXIT_INTERRUPTED
from sensord.cli.recordings import progress_bars
from sensord.errors import SensordError
from sensord.settings import KafkaSettings
from sensord.simulate import CHANNELS
from sensord.store.progress import Progress
from sensord.stream.cluster import Cluster

TOPIC = "sensors.pumps"
ANSWERS_WITHIN_S = 15.0
ADOPTED_WITHIN_S = 60.0
STALLED_S = 60.0
LOOK_EVERY_S = 0.1
STEPS = 9


class Steps:
    """Says what is done: one line a step, once it is done; on a terminal also when it begins."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._number = 0

    @contextmanager
    def step(self, title: str) -> Iterator[list[str]]:
        """One step; what is put into the list is told at its end."""
        self._number += 1
        place = f"[{self._number}/{STEPS}]"
        if self._console.is_terminal:
            self._console.print(f"[bold]{escape(place)} {escape(title)}[/bold]")
        began, told = time.monotonic(), list[str]()
        yield told
        taken = f"{time.monotonic() - began:.1f} s"
        news = "; ".join(told)
        if self._console.is_terminal:
            self._console.print(f"      [green]✓[/green] [dim]{taken}[/dim]  {escape(news)}")
        else:
            self._console.print(f"{place} {title} ({taken}){': ' if news else ''}{news}", markup=False, soft_wrap=True)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--kafka", metavar="HOST:PORT", help="Your own broker; else an embedded one is started.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of the simulated fleet.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=CHECKOUT / "demo",
    show_default="demo, in the checkout",
    help="Folder for everything that is made; an earlier demo's is emptied first.",
)
def main(kafka: str | None, seed: int, out: Path) -> None:
    """Watch a simulated fleet of 20 pumps with planted faults, and hold the alerts against the truth.

    Writes report.html, and leaves settings and database behind: in the folder, `sensord alerts list` still answers.
    """
    if not SCRIPTS.is_dir():
        raise click.UsageError("the demo runs from a checkout, with its scripts")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops the processes in order, as Ctrl-C does
    stage = Stage(out.absolute())
    stage.clear()
    console = Console(highlight=False)
    try:
        findings = play(stage, kafka, seed, Steps(console))
    except SensordError as error:
        click.echo(f"demo: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo("demo: interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)
    print_table(findings)
    click.echo(f"\nreport: {stage.path(stage.report)}")
    click.echo(findings.line)


def play(stage: Stage, kafka: str | None, seed: int, steps: Steps) -> Findings:
    """All steps, in order. Whatever happens, neither daemon nor broker is left running. Raises SensordError."""
    began = time.monotonic()
    with ExitStack() as running:
        with steps.step("Reach your broker" if kafka else "Start the embedded broker") as told:
            address = kafka or running.enter_context(embedded_broker(stage))
            topic = _prepare(stage, address, own=kafka is not None, running=running)
            told.append(f"{address}, topic {topic} with {PARTITIONS} partitions")
        truth = _simulate(stage, seed, steps)
        with steps.step("Create the database") as told:
            told.append(_last(command(stage, "db", "upgrade")) or stage.database)
        with steps.step("Learn from the healthy history, publish and promote a bundle") as told:
            until = f"{truth.live_at:%Y-%m-%dT%H:%M:%SZ}"
            told.append(_last(command(stage, "train", stage.recording, "--until", until, "--promote")))
        readings = _watch(stage, topic, truth, steps)
    with steps.step("Score again offline, compare, write the report") as told:
        with progress_bars() as report:
            findings = gather(stage, truth, readings, lambda done, of: report("score", done, of))
            facts = (
                f"Simulated with seed {seed}; all steps together took {time.monotonic() - began:.0f} s.",
                "Scored again offline, the same readings gave the same alerts as the daemon's, to the last digit.",
            )
            drawn = page(findings, facts, lambda done, of: report("draw", done, of))
        stage.path(stage.report).write_text(drawn, encoding="utf-8")
        told.append("offline scoring gives the same alerts")
    return findings


def _prepare(stage: Stage, address: str, own: bool, running: ExitStack) -> str:
    """A fresh topic, and the settings; on a broker of the user's own, the topic goes when all is done."""
    topic = f"{TOPIC}.demo-{secrets.token_hex(4)}" if own else TOPIC
    try:
        kafka = KafkaSettings(bootstrap_servers=address, group_id=f"sensord.{topic}")
    except ValidationError as error:
        raise click.BadParameter("give HOST:PORT", param_hint="--kafka") from error
    with Cluster(kafka, ANSWERS_WITHIN_S) as cluster:
        cluster.create(topic, PARTITIONS, retention_ms=-1)  # the readings bear a date of their own
    if own:
        running.callback(_delete, kafka, topic)
    stage.configure(kafka, topic, {channel.name: channel.unit for channel in CHANNELS})
    return topic


def _delete(kafka: KafkaSettings, topic: str) -> None:
    try:
        with Cluster(kafka, ANSWERS_WITHIN_S) as cluster:
            cluster.delete(topic)
    except SensordError as error:
        click.echo(f"demo: topic {topic} is left behind: {error}", err=True)


def _simulate(stage: Stage, seed: int, steps: Steps) -> Truth:
    with steps.step("Simulate a fleet of pumps and record it") as told:
        command(stage, "simulate", "--seed", str(seed), "--out", stage.recording, "--truth", stage.truth)
        truth = read_truth(stage.path(stage.truth))
        told.append(f"{truth.readings} readings of {truth.devices} pumps, {len(truth.faults)} faults")
    return truth


def _watch(stage: Stage, topic: str, truth: Truth, steps: Steps) -> int:
    """Run the daemon over the live readings; returns how many it has committed. Raises StepFailed."""
    with engine_of(stage.store()) as engine, ExitStack() as running:
        progress = Progress(engine)
        with steps.step("Start the daemon") as told:
            daemon = running.enter_context(Daemon(stage))
            _wait(daemon, lambda: len(progress.partitions()), PARTITIONS, ADOPTED_WITHIN_S, "adopt")
            told.append(f"process {daemon.pid}, {PARTITIONS} partitions adopted")
        with steps.step("Replay the live readings into the topic") as told:
            count = cut_live(stage.path(stage.recording), stage.path(stage.live), truth.live_at)
            script(stage, "replay", stage.live, "--topic", topic)
            told.append(f"{count} readings published")
        with steps.step("Wait until the daemon has committed all of them") as told:
            _wait(daemon, lambda: _committed(progress), count, STALLED_S, "commit")
            told.append(f"{_committed(progress)} committed")
        with steps.step("Stop the daemon with SIGTERM") as told:
            told.append(f"exit code 0 after {daemon.drain():.1f} s")
        return _committed(progress)


def _committed(progress: Progress) -> int:
    """Records below next_offset in all partitions: every record, as the topic is new and holds readings alone."""
    return sum(row.next_offset or 0 for row in progress.partitions())


def _wait(daemon: Daemon, count: Callable[[], int], wanted: int, stalled_s: float, what: str) -> None:
    """Return once count gets there. Raises StepFailed where the daemon ends or the count doesn't move for stalled_s."""
    moved_at, before = time.monotonic(), -1
    with progress_bars() as report:
        while (now := count()) < wanted:
            report(what, now, wanted)
            daemon.must_live()
            if now != before:
                moved_at, before = time.monotonic(), now
            elif time.monotonic() - moved_at > stalled_s:
                raise daemon.failed(f"the daemon is stuck: {what} {now} of {wanted}, and no more for {stalled_s:.0f} s")
            time.sleep(LOOK_EVERY_S)
        report(what, now, wanted)


def _last(output: str) -> str:
    """The last line of what a command printed: where it says what came of it."""
    return next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "")


if __name__ == "__main__":
    main(prog_name="scripts/demo")
