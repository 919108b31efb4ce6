"""Loops over kafka-python's poll(): the LSTM with its states in a dict, and River's half-space trees."""

from collections.abc import Iterator
from typing import Any

import orjson
from torch import Tensor

from scripts.bench.peer.lstm import Detector, Lstm, State
from scripts.bench.peer.meter import Meter, Task
from scripts.bench.reader import POLL_MS, at_beginning

VALUES_WITHIN = (-4.0, 4.0)  # standard deviations: trees want to know where a channel's values lie


def plain(task: Task) -> None:
    """What an afternoon's script does."""
    meter, lstm = Meter(task, ("kafka-python", "orjson", "torch")), Lstm(task.weights)
    states: dict[str, State] = {}
    for reading in _readings(task):
        device = reading["device_id"]
        states[device] = lstm.step(reading["values"], states.get(device) or lstm.fresh())
        meter.count()


def detector(task: Task) -> None:
    """The same, if it is to find something."""
    meter, model = Meter(task, ("kafka-python", "orjson", "torch")), Detector(task.weights)
    kept: dict[str, tuple[State, Tensor]] = {}
    found = dict[str, int]()
    for reading in _readings(task):
        device = reading["device_id"]
        state, expected = kept.get(device) or (model.fresh(), model.unexpecting())
        state, expected, strange = model.score(reading["values"], state, expected)
        kept[device] = state, expected
        if strange:
            found[device] = found.get(device, 0) + 1
        meter.count()


def half_space_trees(task: Task) -> None:
    """One forest for the whole fleet: one for each of ten thousand devices doesn't fit into memory."""
    from river.anomaly import HalfSpaceTrees  # noqa: PLC0415  # the other loop goes without

    meter, trees = Meter(task, ("kafka-python", "orjson", "river")), None
    for reading in _readings(task):
        values = reading["values"]
        trees = trees or HalfSpaceTrees(limits=dict.fromkeys(values, VALUES_WITHIN), seed=0)
        trees.score_one(values)
        trees.learn_one(values)
        meter.count()


def _readings(task: Task) -> Iterator[dict[str, Any]]:
    consumer, _ = at_beginning(task.kafka, task.topic)
    while True:
        for found in consumer.poll(timeout_ms=POLL_MS).values():
            for record in found:
                yield orjson.loads(record.value)
