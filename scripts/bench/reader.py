"""A bare poll() loop with the daemon's client options: what the client alone can do. Run by `throughput` and `peers`.

Reads a topic from its beginning to its end and prints {"readings": N, "seconds": S} as JSON, timed from the first
poll() on.
"""

import json
import time
from uuid import uuid4

import click
import msgspec
from kafka import KafkaConsumer, TopicPartition

from sensord.settings import KafkaSettings
from sensord.stream.cluster import client_config
from sensord.stream.kafka import POLL_LIMIT_S, SESSION_TIMEOUT_S, _group_config

POLL_MS = 300


@click.command(help=__doc__)
@click.option("--kafka", required=True)
@click.option("--topic", required=True)
@click.option("--decode", is_flag=True, help="Also decode each value's JSON.")
def main(kafka: str, topic: str, decode: bool) -> None:
    consumer, total = at_beginning(kafka, topic)
    begun = time.perf_counter()
    readings = 0
    while readings < total:
        for found in consumer.poll(timeout_ms=POLL_MS).values():
            readings += len(found)
            for record in found if decode else ():
                msgspec.json.decode(record.value)
    seconds = time.perf_counter() - begun
    consumer.close()
    click.echo(json.dumps({"readings": readings, "seconds": seconds}))


def at_beginning(kafka: str, topic: str) -> tuple[KafkaConsumer, int]:
    """A consumer of a whole topic, and how many records that is."""
    settings = KafkaSettings(bootstrap_servers=kafka, group_id=f"bench-{uuid4().hex[:8]}")
    config = client_config(settings) | _group_config(settings, SESSION_TIMEOUT_S, POLL_LIMIT_S)
    consumer = KafkaConsumer(**config)
    tps = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
    total = sum(consumer.end_offsets(tps).values())
    consumer.assign(tps)
    for tp in tps:
        consumer.seek(tp, 0)
    return consumer, total


if __name__ == "__main__":
    main()
