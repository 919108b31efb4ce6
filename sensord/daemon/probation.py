"""Whether a bundle that has just been promoted does harm; then the daemon rolls it back. Used by `loop`.

The gate has seen history; this sees what comes. It judges two things that no good bundle does, whatever its readings:
states that come out non-finite, and alerts that open many times as often as under the bundle before.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

LEAP = 5.0  # times as many alerts as were to be expected
ENOUGH = 10  # alerts, before that many say anything; of a small fleet a third of its devices, but not fewer than FEW
FEW = 3


@dataclass(slots=True)
class Tally:
    """What happened under one bundle. broken: readings that left a non-finite state. opened: alerts, but silences."""

    readings: int = 0
    broken: int = 0
    opened: int = 0


@dataclass(frozen=True, slots=True)
class Trial:
    """A fleet's move to another bundle, while that is watched. until: monotonic seconds."""

    fleet: str
    old: str
    new: str
    until: float


class Probation:
    """Bundles on probation. lasts_s: how long each is; 0: none ever is."""

    def __init__(self, lasts_s: float) -> None:
        self._lasts_s = lasts_s
        self._tallies: defaultdict[tuple[str, str], Tally] = defaultdict(Tally)
        self._trials: dict[str, Trial] = {}
        self._proven: set[tuple[str, str]] = set()  # they were there before: nobody goes on from them to anything worse

    def observed(self, fleet: str, bundle_id: str, readings: int, broken: int) -> None:
        """Readings were scored."""
        tally = self._tallies[fleet, bundle_id]
        tally.readings += readings
        tally.broken += broken

    def opened(self, fleet: str, bundle_id: str, alerts: int) -> None:
        """Alerts were opened."""
        self._tallies[fleet, bundle_id].opened += alerts

    def begin(self, fleet: str, old: str, new: str, now: float) -> None:
        """A partition moved to another bundle; the first that does begins the trial."""
        trial = self._trials.get(fleet)
        self._proven.add((fleet, old))
        if (fleet, new) in self._proven:
            self._trials.pop(fleet, None)  # somebody has rolled back
        elif self._lasts_s and (trial is None or trial.new != new):
            self._tallies.pop((fleet, new), None)
            self._trials[fleet] = Trial(fleet, old, new, now + self._lasts_s)

    def harmful(self, now: float, devices: dict[str, int]) -> Iterator[tuple[Trial, str]]:
        """Trials that are lost, with the reason; those that are over are won. devices: of each fleet."""
        for trial in list(self._trials.values()):
            reason = self._reason(trial, devices.get(trial.fleet, 0))
            if reason:
                yield trial, reason
            elif now >= trial.until:
                self.end(trial)

    def end(self, trial: Trial) -> None:
        """Watch no longer."""
        del self._trials[trial.fleet]
        for key in [key for key in self._tallies if key[0] == trial.fleet and key[1] != trial.new]:
            del self._tallies[key]

    def _reason(self, trial: Trial, devices: int) -> str:
        before, since = self._tallies[trial.fleet, trial.old], self._tallies[trial.fleet, trial.new]
        if since.broken and not before.broken:
            return f"{since.broken} of {since.readings} readings left a state that is not finite"
        if not before.readings:
            return ""
        expected = before.opened / before.readings * since.readings
        enough = min(ENOUGH, max(FEW, devices // 3))
        if since.opened >= enough and since.opened > LEAP * expected:
            return (
                f"{since.opened} alerts in {since.readings} readings, where {trial.old} would have opened "
                f"{expected:.1f}"
            )
        return ""
