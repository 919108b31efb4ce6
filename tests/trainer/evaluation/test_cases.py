"""Devices with the truth: what is history, what is faulty, which faults can be found."""

import numpy as np

from sensord.trainer.evaluation.cases import Case, Fault, faults_from_flags
from sensord.trainer.events import Span
from sensord.trainer.offline import Recorded

AT = np.arange(10) * 1000


def case(history: int, *spans: tuple[int, int]) -> Case:
    faults = tuple(Fault(Span("pump-1", *span)) for span in spans)
    return Case(Recorded("pump-1", AT, np.zeros((10, 1), np.float32)), history, faults)


def test_the_head_is_the_history() -> None:
    assert case(4).head.at.tolist() == [0, 1000, 2000, 3000]


def test_both_ends_of_a_fault_are_faulty() -> None:
    assert np.flatnonzero(case(4, (5000, 7000)).faulty).tolist() == [1, 2, 3]


def test_a_fault_without_a_judged_reading_can_t_be_found() -> None:
    spans = (0, 3000), (3000, 4000), (4100, 4900), (9500, 9900)
    assert [fault.span.start_at for fault in case(4, *spans).judged_faults] == [3000]


def test_flags_become_faults_and_faults_the_same_flags() -> None:
    flagged = np.array([False, True, True, False, False, True, False, False, False, True])
    faults = faults_from_flags("pump-1", AT, flagged)
    assert [(fault.span.start_at, fault.span.end_at) for fault in faults] == [(1000, 2000), (5000, 5000), (9000, 9000)]
    again = Case(Recorded("pump-1", AT, np.zeros((10, 1), np.float32)), 0, faults)
    assert again.faulty.tolist() == flagged.tolist()
