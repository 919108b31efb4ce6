"""What is left out of a history leaves pieces, and nothing is learned of one from another."""

import numpy as np
import pytest

from sensord.detection.fleet import Observation
from sensord.readings import Floats
from sensord.trainer.heads import Normal, foresight, head_equations
from sensord.trainer.history import History
from sensord.trainer.holes import MARGIN, SHORTEST, Cause, Hole, Holes, pieces
from sensord.trainer.job import _first_pieces
from sensord.trainer.offline import Recorded
from sensord.trainer.trace import trace
from tests.builders import bundle, fleet, network, readings

SECOND = 1_000_000


def recorded(device_id: str = "a", n: int = 1_000) -> Recorded:
    values = np.random.default_rng(n).normal(0, 1, (n, 2)).astype(np.float32)
    return Recorded(device_id, np.arange(n) * SECOND, values)


def hole(first: int, last: int, cause: Cause = Cause.WINDOW) -> Hole:
    """Readings from first to last."""
    return Hole(first * SECOND, last * SECOND, cause)


def cut(*holes: Hole, n: int = 1_000) -> tuple[list[int], tuple[int, ...], dict[str, int]]:
    """Places of the readings that are left, where new pieces begin, and what was left out."""
    left, breaks, counts = Holes.gathered([("a", each) for each in holes], []).cut(recorded(n=n))
    return (left.at // SECOND).tolist(), breaks, {cause: count for cause, count in counts.items() if count}


def test_a_window_is_cut_out_to_the_reading_and_an_alert_with_its_margin() -> None:
    left, breaks, counts = cut(hole(200, 299))
    assert (left, breaks) == ([*range(200), *range(300, 1_000)], (200,))
    assert counts == {"window": 100}
    left, breaks, counts = cut(hole(200, 299, Cause.UNANSWERED))
    assert (left, breaks) == ([*range(200 - MARGIN), *range(300 + MARGIN, 1_000)], (200 - MARGIN,))
    assert counts == {"unanswered": 100 + 2 * MARGIN}


def test_readings_of_several_holes_count_once_and_pieces_too_short_to_warm_up_go_with_them() -> None:
    left, breaks, counts = cut(hole(200, 299, Cause.REAL), hole(250, 399), hole(400 + SHORTEST - 1, 500))
    assert (left, breaks) == ([*range(200 - MARGIN), *range(501, 1_000)], (200 - MARGIN,))
    assert counts == {"window": 150 + 38, "real": 50 + MARGIN, "between": SHORTEST - 1}


def test_holes_at_either_end_leave_one_piece_and_holes_without_readings_none() -> None:
    assert cut(hole(0, 99), hole(900, 2_000))[:2] == ([*range(100, 900)], ())
    for beside in (hole(-500, -1), hole(5_000, 6_000, Cause.REAL)):
        assert cut(beside) == ([*range(1_000)], (), {})


def test_holes_concern_who_they_name() -> None:
    history = History(("x", "y"), (recorded("pump-1"), recorded("pump-2"), recorded("motor")))
    holes = Holes.gathered([("motor", hole(0, 99))], [(lambda name: name.startswith("pump"), hole(500, 599))])
    left = history.without(holes)
    assert [len(device.at) for device in left.devices] == [900, 900, 900]
    assert left.breaks == {"pump-1": (500,), "pump-2": (500,)}
    assert left.left_out == {Cause.WINDOW: 300}
    assert left.notes == ("left out: 300 readings in windows",)
    assert left.without(Holes.gathered([], [])).devices == left.devices


def test_a_split_history_keeps_its_holes_where_they_are() -> None:
    left = History(("x", "y"), (recorded(),)).without(
        Holes.gathered([("a", hole(100, 199)), ("a", hole(800, 899))], [])
    )
    assert left.breaks == {"a": (100, 700)}
    earlier, later = left.split(0.75)
    assert list(pieces(600, earlier.breaks["a"])) == [slice(0, 100), slice(100, 600)]
    assert list(pieces(200, later.breaks["a"])) == [slice(0, 100), slice(100, 200)]


def test_the_trunk_is_fitted_to_pieces() -> None:
    left = History(("x", "y"), (recorded(), recorded("b"))).without(Holes.gathered([("a", hole(100, 199))], []))
    parts = list(_first_pieces(left, [device.values for device in left.devices]))
    assert [len(part) for part in parts] == [100, 575, 750]


def test_a_head_learns_nothing_across_a_hole(values: Floats) -> None:
    trunk = network()
    broken = head_equations(trunk, values, (100, 180))
    apart = Normal.total([head_equations(trunk, values[rows]) for rows in pieces(len(values), (100, 180))])
    np.testing.assert_array_equal(broken.gram, apart.gram)
    np.testing.assert_array_equal(broken.cross, apart.cross)
    assert broken.count == len(values) - 3


def test_foresight_looks_at_pieces_on_either_side_of_its_cut(values: Floats) -> None:
    trunk, inputs = network(), np.ones(7, np.bool_)
    cut, first, rest = 150, slice(0, 100), slice(100, 300)
    before = Normal.total([head_equations(trunk, values[first]), head_equations(trunk, values[100:cut])])
    whole = head_equations(trunk, values[rest])
    inside = head_equations(trunk, values[100:cut])
    after = Normal(whole.gram - inside.gram, whole.cross - inside.cross, whole.power - inside.power, 150)
    [found] = foresight(trunk, [values], 0.5, [inputs], [(100,)])
    np.testing.assert_allclose(found, after.mean_square(before.solve(1.0, inputs)), rtol=1e-3)


def test_a_trace_starts_afresh_after_a_hole_as_the_daemon_does_after_a_gap(values: Floats) -> None:
    model = bundle()
    daemon = fleet(model, max_gap_s=300)
    parts = [daemon.observe(readings(values[:200])), daemon.observe(readings(values[200:], first=1_000))]
    seen = Observation.join(parts)
    [mine] = trace(model.network, model.profiles, model.manifest.tuning, [values], [0], [(200,)])
    np.testing.assert_array_equal(mine.score, seen.score)
    warm_up = model.manifest.tuning.warm_up
    assert np.isnan(mine.score[200 : 200 + warm_up]).all()
    assert len(mine.since(warm_up).score) == len(values) - 2 * warm_up


@pytest.fixture
def values() -> Floats:
    return np.random.default_rng(0).normal(0, 1, (300, 2)).astype(np.float32)
