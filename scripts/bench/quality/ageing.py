"""How much slow ageing a `drift` tells, how early, and how often one is called in health.

A fleet of pumps of several regimes, with six weeks of history, goes on for eleven weeks, twice: in health, and with
channels that slowly leave their level, which is all that differs. An ageing goes straight to its size, in the channel's
own standard deviation over history, and stays there. An alert that the same pump raises in health too tells no ageing.
False drifts are those in health, of all pumps, from where their level is first believed.
"""

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import click
import numpy as np
import torch

from scripts.bench.quality.fleets import Split, calibrated, healthy_pumps
from sensord.detection.alerts import Alert, Kind
from sensord.detection.drift import SPAN
from sensord.readings import Floats
from sensord.simulate import CHANNELS, FleetPlan
from sensord.trainer.fit import FitOptions
from sensord.trainer.history import History
from sensord.trainer.job import TrainOptions, fit_network
from sensord.trainer.offline import Recorded, watch
from sensord.trainer.threshold import DAY_S

SIZES = (0.25, 0.5, 1.0, 2.0)  # standard deviations of the channel over history
SPEEDS = (1_000, 4_000, 16_000)  # readings until it has gone so far
SORTS = len(SIZES) * len(SPEEDS)
TOGETHER, EVERY = 3, 5  # channels that age on every fifth pump; on all others it is one
PLAIN, SLOW = 1.0, 4_000  # so large or larger, in so many readings or more: what a drift is there to tell
PLAIN_AND_SLOW = "plain and slow"
SAME = 200  # readings: an alert that opens as near to one of the pump in health is the same
MONTH_S = 30 * DAY_S


@dataclass(frozen=True, slots=True)
class Regime:
    """How some pumps of a fleet run. season: °C by which each day is warmer than the last, in history too."""

    name: str
    season: float = 0.0
    line_ups: bool = False


SEASON = "season"
REGIMES = (Regime("stop and go"), Regime("round the clock", line_ups=True), Regime(SEASON, season=0.1))


@dataclass(frozen=True, slots=True)
class Length:
    """Readings: of history; then live ones in health, of the longest ageing, and after its end."""

    history: int = 12_000
    healthy: int = 3_000
    longest: int = max(SPEEDS)
    after: int = 3_000

    @property
    def live(self) -> int:
        return self.healthy + self.longest + self.after


@dataclass(frozen=True, slots=True)
class Ageing:
    """One pump's: the places of the channels, how far they go, up or down, in standard deviations, in so many
    readings."""

    channels: tuple[int, ...]
    size: float
    readings: int

    @property
    def is_plain(self) -> bool:
        return abs(self.size) >= PLAIN and self.readings >= SLOW


@dataclass(frozen=True, slots=True)
class Course:
    """What came of an ageing. drift, other: readings from its beginning to the first alert of that kind, and to that of
    any other; None where there is none."""

    regime: str
    ageing: Ageing
    drift: int | None
    other: int | None

    @property
    def gone(self) -> float | None:
        """How far it had gone when the drift was told, in standard deviations."""
        return None if self.drift is None else abs(self.ageing.size) * min(1.0, self.drift / self.ageing.readings)

    @property
    def lead(self) -> int | None:
        """Readings by which the drift came before any other kind; negative where it came after."""
        return None if self.drift is None or self.other is None else self.other - self.drift

    @property
    def is_first(self) -> bool:
        """The drift came alone, or before any other kind."""
        return self.drift is not None and (self.other is None or self.drift < self.other)


@dataclass(frozen=True, slots=True)
class Told:
    """Ageings of one sort, shares of how many were planted. drift: a drift told it. growing: while it still grew.
    first: alone, or before any other kind. other: another kind did. nothing: none did.

    gone: median of how far it had gone at the drift, in standard deviations. lead: median of the readings by which the
    drift came before any other kind, where both came. None where there are none.
    """

    sort: str
    planted: int
    drift: float
    growing: float
    first: float
    other: float
    nothing: float
    gone: float | None
    lead: float | None


@dataclass(frozen=True, slots=True)
class Calm:
    """Drifts of pumps in health, and for how many months of 30 days they were watched, added up."""

    regime: str
    drifts: int
    months: float


@dataclass(frozen=True, slots=True)
class Found:
    """Ageings by sort, and drifts in health by regime."""

    told: tuple[Told, ...]
    calm: tuple[Calm, ...]


def ageing(
    seeds: Sequence[int], pumps: int = 2 * SORTS, period_s: float = 300.0, length: Length = Length(), steps: int = 600
) -> Found:
    """Pooled over the seeds. pumps: of each regime."""
    runs = [run(seed, pumps, period_s, length, steps) for seed in seeds]
    courses = [each for some, _ in runs for each in some]
    drifts = sum((some for _, some in runs), Counter[str]())
    months = len(seeds) * pumps * (length.live - SPAN) * period_s / MONTH_S
    return Found(tuple(by_sort(courses)), tuple(Calm(each.name, drifts[each.name], months) for each in REGIMES))


def run(seed: int, pumps: int, period_s: float, length: Length, steps: int) -> tuple[list[Course], Counter[str]]:
    """One fleet, learnt from its history as `sensord train` does it: its ageings, and drifts in health by regime."""
    split, regimes = fleet(seed, pumps, period_s, length)
    options = TrainOptions("pumps", max_gap_s=4 * period_s, fit=FitOptions(seed=seed, steps=steps))
    network = fit_network(split.history, options.fit, lambda done, of: None)
    bundle = calibrated(network, split.history, options)
    planted = plant(seed, len(split.live), length.longest)
    spreads = [each.values.std(axis=0) for each in split.history.devices]
    aged = [grown(*each, length.healthy) for each in zip(split.live, planted, spreads, strict=True)]
    healthy, ageing = (by_device(watch(bundle, some, options.max_gap_s)) for some in (split.live, aged))
    courses = [
        course(regime, each, device, length.healthy, ageing[device.device_id], healthy[device.device_id])
        for regime, each, device in zip(regimes, planted, aged, strict=True)
    ]
    drifts = Counter(
        regime
        for regime, device in zip(regimes, split.live, strict=True)
        for alert in healthy[device.device_id]
        if alert.kind is Kind.DRIFT
    )
    return courses, drifts


def fleet(seed: int, pumps: int, period_s: float, length: Length) -> tuple[Split, list[str]]:
    """Pumps of every regime, and the regime of each."""
    splits = {
        each.name: healthy_pumps(
            FleetPlan(
                pumps,
                length.history + length.live,
                period_s=period_s,
                seed=len(REGIMES) * seed + place,  # no pump twice
                ambient_trend_c_per_day=each.season,
                line_ups=each.line_ups,
            ),
            length.history,
        )
        for place, each in enumerate(REGIMES)
    }
    history = [_named(regime, each) for regime, split in splits.items() for each in split.history.devices]
    live = [_named(regime, each) for regime, split in splits.items() for each in split.live]
    channels = tuple(channel.name for channel in CHANNELS)
    return Split(History(channels, tuple(history)), tuple(live)), [regime for regime in splits for _ in range(pumps)]


def _named(regime: str, device: Recorded) -> Recorded:
    return Recorded(f"{device.device_id}, {regime}", device.at, device.values)


def by_device(alerts: Sequence[Alert]) -> defaultdict[str, list[Alert]]:
    """In the order that they have."""
    found: defaultdict[str, list[Alert]] = defaultdict(list)
    for alert in alerts:
        found[alert.device_id].append(alert)
    return found


def plant(seed: int, pumps: int, longest: int = max(SPEEDS)) -> list[Ageing]:
    """Every size at every speed equally often, on any channel; on every fifth pump several."""
    random = np.random.default_rng(seed)
    planted = []
    for number in range(pumps):
        size, readings = SIZES[number % len(SIZES)], SPEEDS[number // len(SIZES) % len(SPEEDS)]
        first, sign = int(random.integers(len(CHANNELS))), float(random.choice((-1.0, 1.0)))
        count = TOGETHER if number % EVERY == 0 else 1
        channels = tuple(channel % len(CHANNELS) for channel in range(first, first + count))
        planted.append(Ageing(channels, sign * size, min(readings, longest)))
    return planted


def grown(live: Recorded, ageing: Ageing, spread: Floats, begin: int) -> Recorded:
    """The same readings, ageing from one of them on. spread: (channels,), channel units."""
    share = np.clip(np.arange(1 - begin, len(live.at) + 1 - begin) / ageing.readings, 0, 1)  # (readings,)
    values, places = live.values.copy(), list(ageing.channels)
    values[:, places] += (share[:, None] * ageing.size * spread[places]).astype(np.float32)
    return Recorded(live.device_id, live.at, values)


def course(
    regime: str, ageing: Ageing, device: Recorded, begin: int, alerts: Sequence[Alert], healthy: Sequence[Alert]
) -> Course:
    """begin: the ageing's first reading. alerts, healthy: the device's, as it ages and in health."""
    readings = {
        drift: _first(
            _opened([each for each in alerts if (each.kind is Kind.DRIFT) is drift], device),
            _opened([each for each in healthy if (each.kind is Kind.DRIFT) is drift], device),
            begin,
        )
        for drift in (True, False)
    }
    return Course(regime, ageing, readings[True], readings[False])


def _opened(alerts: Sequence[Alert], device: Recorded) -> list[int]:
    """The readings at which alerts opened."""
    return [int(np.searchsorted(device.at, each.opened_at)) for each in alerts]


def _first(opened: Sequence[int], healthy: Sequence[int], begin: int) -> int | None:
    """Readings from the beginning to the first that doesn't open in health too."""
    own = [each - begin for each in opened if all(abs(each - other) > SAME for other in healthy)]
    return min((each for each in own if each >= 0), default=None)


def by_sort(courses: Sequence[Course]) -> list[Told]:
    """All, those that a drift is there to tell, then by regime, size, speed, and what ages."""
    sorts = {"all": list(courses), PLAIN_AND_SLOW: [each for each in courses if each.ageing.is_plain]}
    for labels in zip(*(_labels(each) for each in courses), strict=True):
        for label, each in zip(labels, courses, strict=True):
            sorts.setdefault(label, []).append(each)
    return [told(sort, some) for sort, some in sorts.items()]


def _labels(one: Course) -> tuple[str, ...]:
    ageing = one.ageing
    several = len(ageing.channels) > 1
    what = f"{len(ageing.channels)} channels" if several else CHANNELS[ageing.channels[0]].name
    return one.regime, f"size {abs(ageing.size):g}", f"in {ageing.readings:,}", what


def a_month(calm: Sequence[Calm]) -> float:
    """Drifts a device and month of health."""
    return sum(each.drifts for each in calm) / sum(each.months for each in calm)


def told(sort: str, courses: Sequence[Course]) -> Told:
    """Shares are NaN where there are none."""

    def share(facts: Sequence[bool]) -> float:
        return sum(facts) / len(facts) if facts else float("nan")

    return Told(
        sort,
        len(courses),
        drift=share([each.drift is not None for each in courses]),
        growing=share([each.drift is not None and each.drift < each.ageing.readings for each in courses]),
        first=share([each.is_first for each in courses]),
        other=share([each.other is not None for each in courses]),
        nothing=share([each.drift is None and each.other is None for each in courses]),
        gone=_median([each.gone for each in courses]),
        lead=_median([each.lead for each in courses]),
    )


def _median(values: Sequence[float | None]) -> float | None:
    known = [each for each in values if each is not None]
    return float(statistics.median(known)) if known else None


@click.command(help=__doc__)
@click.option("--seeds", default=2, show_default=True, help="How many, from 1 on.")
@click.option("--period", default=300.0, show_default=True, help="Seconds between readings.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
def main(seeds: int, period: float, as_json: bool) -> None:
    torch.set_num_threads(1)
    found = ageing(range(1, seeds + 1), period_s=period)
    if as_json:
        print(json.dumps(asdict(found)))
        return
    print("shares            planted  drift  growing  first  other  nothing   gone    lead")
    for each in found.told:
        shares = f"{each.drift:6.0%} {each.growing:8.0%} {each.first:6.0%} {each.other:6.0%} {each.nothing:8.0%}"
        gone, lead = ("-" if value is None else value for value in (each.gone, each.lead))
        print(f"{each.sort:17} {each.planted:7} {shares} {gone:>6.2} {lead:>7}")
    for one in found.calm:
        print(f"{one.regime}: {one.drifts} drifts in {one.months:.0f} months of health, {a_month([one]):.3f} a month")


if __name__ == "__main__":
    main()
