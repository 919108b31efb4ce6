"""`sensord score` says of each reading what the daemon would."""

import numpy as np

from sensord.cli.score import COLUMNS, _rows
from sensord.detection.alerts import Kind
from sensord.trainer.offline import Recorded, replay
from tests.builders import QUICK, START, bundle


def test_a_reading_is_named_by_the_detector_that_calls_it() -> None:
    values = np.random.default_rng(0).normal(0, 0.5, (300, 2)).astype(np.float32)
    values[200, 1] += 9
    device = Recorded("pump-1", START + np.arange(300) * 1_000_000, values)
    seen = replay(bundle(events=True, tuning=QUICK), [device], 300.0).observations[0]
    kinds = [row[COLUMNS.index("kind")] for row in _rows(device, seen)]
    assert kinds[200] == Kind.SPIKE.value
    assert set(kinds[:200]) == {None}
