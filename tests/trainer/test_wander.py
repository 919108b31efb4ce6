"""How far levels wander in health is learnt where there is enough to learn it from, and ageing is told by it."""

import numpy as np
import pytest

from sensord.detection.alerts import Kind
from sensord.detection.drift import NAME, SPAN
from sensord.readings import Floats, Integers
from sensord.trainer.fit import FitOptions
from sensord.trainer.history import History
from sensord.trainer.job import TrainOptions, train
from sensord.trainer.offline import Recorded, watch
from sensord.trainer.wander import LEAST_LIMIT, LEAST_USUAL, MARGIN, learn_wander
from tests.builders import START

MINUTE_US = 60_000_000
ENOUGH = 6 * SPAN


def times(n: int, step_us: int = MINUTE_US) -> Integers:
    return START + step_us * np.arange(n)


ROWS = np.array([1, 2, 0])
OWN = np.array([[[0.3, 0.2], [0.6, 0.2]], [[0.05, 0.4], [0.05, 0.4]], [[0.1, 0.1], [0.1, 0.1]]], np.float32)
FLEET = OWN + np.float32(0.1)


def test_what_is_usual_is_the_farthest_a_device_s_level_ever_went() -> None:
    learnt = learn_wander(3, [times(ENOUGH)] * 3, ROWS, OWN, FLEET)
    assert learnt[1, 1:].tolist() == pytest.approx([0.6, 0.2])
    assert learnt[2, 1:].tolist() == pytest.approx([LEAST_USUAL, 0.4]), "less is no drift"
    assert learnt[0, 1:].tolist() == pytest.approx([0.7, 0.5]), "any device's, for those that nobody knows"
    assert learnt[:, 0].tolist() == pytest.approx([MARGIN * 2] * 3), "one went twice as far later on"


def test_where_nothing_grew_the_limit_is_the_least() -> None:
    calm = np.full_like(OWN, 0.2)
    assert learn_wander(3, [times(ENOUGH)] * 3, ROWS, calm, calm)[1, 0] == LEAST_LIMIT


@pytest.mark.parametrize(("n", "step_us"), [(ENOUGH, 1_000_000), (SPAN, MINUTE_US * 60)], ids=["hours", "few readings"])
def test_a_short_history_tells_nothing(n: int, step_us: int) -> None:
    learnt = learn_wander(3, [times(n, step_us)] * 3, ROWS, OWN, FLEET)
    assert not learnt[:, 0].any()
    assert (learnt[:, 1:] == 1).all()


def test_of_devices_only_those_that_are_known_are_judged() -> None:
    learnt = learn_wander(3, [times(ENOUGH), times(50), times(50)], ROWS, OWN, FLEET)
    assert (learnt[:, 0] > 0).tolist() == [True, True, False]


# --- end to end ------------------------------------------------------------------------------------------------------


def machine(n: int, seed: int) -> Floats:
    """Two channels that remember, with a daily swing in one."""
    rng = np.random.default_rng(seed)
    values = np.zeros((n, 2))
    for t in range(1, n):
        values[t] = 0.8 * values[t - 1] + rng.normal(0, 0.3, 2)
    values[:, 0] += np.sin(2 * np.pi * np.arange(n) / 1_440)
    return values.astype(np.float32)


@pytest.mark.slow
def test_slow_ageing_is_told_before_the_threshold_moves() -> None:
    """Eleven days of three machines; then one of them ages by four times its noise in two weeks."""
    n, later = 16_000, 20_000
    healthy = tuple(Recorded(f"m-{seed}", times(n), machine(n, seed)) for seed in range(3))
    options = TrainOptions(fleet="mills", fit=FitOptions(hidden=8, steps=20))
    trained = train(History(("heat", "load"), healthy), options).bundle
    constants = trained.profiles.events[NAME]
    assert (constants[:, 0] >= LEAST_LIMIT).all()

    def onwards(ageing: float) -> list[Kind]:
        grown = np.linspace(0, ageing, later)[:, None] * np.array([0, 1])
        readings = [
            Recorded(f"m-{seed}", times(later), (machine(later, 10 + seed) + grown * (seed == 1)).astype(np.float32))
            for seed in range(3)
        ]
        return [alert.kind for alert in watch(trained, readings, 300.0) if alert.device_id == "m-1"]

    assert Kind.DRIFT not in onwards(0)
    assert Kind.DRIFT in onwards(4.0)
    assert Kind.DRIFT in onwards(0.4), "four fifths of the channel's spread, of which its memory foresees the most"
