"""One peer, by its name: reads a topic as far as its time allows. Run by `peers`, in the peers' own environment.

Writes {"readings": N, "seconds": S, "versions": {...}} as JSON into its folder, see `meter`.
"""

from importlib import import_module
from pathlib import Path

import click

from scripts.bench.peer.meter import Task

PEERS = {
    "plain": "loops.plain",
    "detector": "loops.detector",
    "quix": "quix.quix",
    "faust table": "faust_agents.faust_table",
    "faust dict": "faust_agents.faust_dict",
    "river": "loops.half_space_trees",
}


@click.command(help=__doc__)
@click.argument("name", type=click.Choice(list(PEERS)))
@click.option("--kafka", required=True)
@click.option("--topic", required=True)
@click.option("--partitions", type=int, required=True)
@click.option("--weights", type=click.Path(path_type=Path), required=True)
@click.option("--folder", type=click.Path(path_type=Path), required=True)
@click.option("--group", required=True)
@click.option("--warm-up", type=int, required=True)
@click.option("--total", type=int, required=True)
@click.option("--seconds", type=float, required=True)
def main(name: str, **task: object) -> None:
    module, _, function = PEERS[name].partition(".")
    getattr(import_module(f"scripts.bench.peer.{module}"), function)(Task(**task))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
