"""`sensord simulate`: record a fleet of pumps with planted faults, and the truth about them."""

from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from sensord.simulate.fleet import FleetPlan
from sensord.simulate.fleet import simulate as run
from sensord.simulate.writing import write_recording, write_truth


@click.command("simulate")
@click.option("--devices", default=20, show_default=True, help="Pumps in the fleet.")
@click.option("--readings", default=6_000, show_default=True, help="Readings of each pump, in all.")
@click.option("--healthy", default=4_000, show_default=True, help="The first of them that hold no fault.")
@click.option("--period-s", default=10.0, show_default=True, help="Seconds between a pump's readings.")
@click.option("--faults", default=12, show_default=True, help="Faults to plant; the six kinds in turn.")
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same file, byte for byte.")
@click.option(
    "--ambient-trend-c-per-day", default=0.0, show_default=True, help="How fast the season turns: °C a day, all along."
)
@click.option(
    "--line-ups",
    is_flag=True,
    help="Valves decide what is normal hundreds of readings later; all faults are wrong ones.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The recording: NAME.jsonl or NAME.csv, packed with .gz or .zst.",
)
@click.option(
    "--truth", type=click.Path(dir_okay=False, path_type=Path), help="Where the planted faults are written, as JSON."
)
def simulate(
    devices: int,
    readings: int,
    healthy: int,
    period_s: float,
    faults: int,
    seed: int,
    ambient_trend_c_per_day: float,
    line_ups: bool,
    out: Path,
    truth: Path | None,
) -> None:
    """Record a simulated fleet of pumps with faults and ground truth."""
    console = Console(stderr=True)
    try:
        plan = FleetPlan(
            devices,
            readings,
            healthy,
            period_s,
            faults,
            seed=seed,
            ambient_trend_c_per_day=ambient_trend_c_per_day,
            line_ups=line_ups,
        )
        simulation = run(plan)
        with Progress(console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task(f"Writing {out.name}", total=len(simulation))
            write_recording(simulation, out, lambda count: progress.advance(task, count))
        if truth is not None:
            write_truth(simulation, truth)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise click.FileError(error.filename or str(out), error.strerror) from error
    click.echo(f"{len(simulation)} readings of {devices} pumps, {len(simulation.truth)} faults: {out}", err=True)
