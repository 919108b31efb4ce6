"""Quix Streams with default settings: the LSTM's state under each record's key, in RocksDB and a changelog topic."""

from typing import Any

from quixstreams import Application, State

from scripts.bench.peer.lstm import Lstm
from scripts.bench.peer.meter import Meter, Task


def quix(task: Task) -> None:
    """A stateful function over the topic."""
    meter, lstm = Meter(task, ("quixstreams", "confluent-kafka", "torch")), Lstm(task.weights)
    app = Application(
        task.kafka, consumer_group=task.group, auto_offset_reset="earliest", state_dir=task.folder, loglevel="WARNING"
    )

    def step(reading: dict[str, Any], state: State) -> None:
        state.set_bytes("lstm", lstm.step_bytes(reading["values"], state.get_bytes("lstm")))
        meter.count()

    app.dataframe(app.topic(task.topic, value_deserializer="json")).update(step, stateful=True)
    app.run()
