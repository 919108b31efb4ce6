"""What this process holds, and how far behind it is, told to the metrics. Used by `loop`."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from sensord.daemon.shard import Shard
from sensord.metrics import Metrics
from sensord.readings import Partition
from sensord.stream.source import Source

MILLISECOND = 1_000  # microseconds


def take_stock(shards: Iterable[Shard], metrics: Metrics) -> None:
    """Tell which bundles score, and of each fleet what there is."""
    found = defaultdict[str, Counter[str]](Counter)
    for shard in shards:
        last_at = shard.fleet.bundle.manifest.history.last_at
        metrics.scores_with(shard.name, shard.fleet.bundle.id, last_at, shard.shadow_id)
        found[shard.name].update(partitions=1, held_partitions=shard.held, **shard.fleet.census())
    metrics.holds(found)


def tell_lag(
    shards: Iterable[Shard], source: Source, newest: Mapping[Partition, int], now: int, metrics: Metrics
) -> None:
    """Tell how many records wait in each partition, and how old the latest one is that was taken in.

    newest: time stamps of these, milliseconds. now: wall time, microseconds.
    """
    lags = dict[Partition, tuple[int, float]]()
    for shard in shards:
        if (end := source.end(shard.partition)) is not None:
            records = max(end - shard.position, 0)
            age_s = (now / MILLISECOND - newest.get(shard.partition, now / MILLISECOND)) / 1_000 if records else 0.0
            lags[shard.partition] = records, max(age_s, 0.0)
    metrics.lags(lags)
