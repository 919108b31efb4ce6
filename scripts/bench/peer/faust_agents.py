"""Faust: the LSTM's state by device, in a table with its changelog topic, or in a plain dict.

With default settings, but for two that slow it down for nothing.
"""

import logging
from collections.abc import MutableMapping
from typing import Any

import faust

from scripts.bench.peer.lstm import Lstm
from scripts.bench.peer.meter import Meter, Task

LINGER_S = 0.005  # its changelog goes out a record at a time else; Quix Streams' client waits so long by default


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
        producer_linger=LINGER_S,
    )


def _work(task: Task, app: faust.App, states: MutableMapping[str, bytes]) -> None:
    meter, lstm = Meter(task, ("faust-streaming", "aiokafka", "torch")), Lstm(task.weights)

    @app.agent(app.topic(task.topic, key_type=bytes, value_serializer="json"))
    async def step(readings: Any) -> None:
        async for reading in readings:
            device = reading["device_id"]
            states[device] = lstm.step_bytes(reading["values"], states.get(device))
            meter.count()

    logging.disable(logging.INFO)  # the worker makes debug lines for every record, then drops them
    faust.Worker(app, loglevel="WARN").execute_from_commandline()
