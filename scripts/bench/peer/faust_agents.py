"""Faust with default settings: the LSTM's state by device, in a table with its changelog topic, or in a plain dict."""

from collections.abc import MutableMapping
from typing import Any

import faust

from scripts.bench.peer.lstm import Lstm
from scripts.bench.peer.meter import Meter, Task


def faust_table(task: Task) -> None:
    """What a restart finds again."""
    app = _app(task)
    _work(task, app, app.Table("lstm", key_type=str, value_type=bytes, partitions=task.partitions))


def faust_dict(task: Task) -> None:
    """What is gone with the process."""
    _work(task, _app(task), {})


def _app(task: Task) -> faust.App:
    return faust.App(
        task.group,
        broker=f"kafka://{task.kafka}",
        store="memory://",
        datadir=task.folder,
        topic_partitions=task.partitions,
        topic_replication_factor=1,
        consumer_auto_offset_reset="earliest",
        web_enabled=False,
    )


def _work(task: Task, app: faust.App, states: MutableMapping[str, bytes]) -> None:
    meter, lstm = Meter(task, ("faust-streaming", "aiokafka", "torch")), Lstm(task.weights)

    @app.agent(app.topic(task.topic, key_type=bytes, value_serializer="json"))
    async def step(readings: Any) -> None:
        async for reading in readings:
            device = reading["device_id"]
            states[device] = lstm.step_bytes(reading["values"], states.get(device))
            meter.count()

    faust.Worker(app, loglevel="WARN").execute_from_commandline()
