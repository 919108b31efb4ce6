"""A bare poll() loop with the daemon's client options: what the client alone can do. Run by `throughput`.

Reads a topic from its beginning to its end and prints {"readings": N, "seconds": S} as JSON, timed from the first
poll() on.
"""

import json
import time
from uuid import uuid4

import click
from kafka import KafkaConsumer, TopicPartition

from sensord.settings import KafkaSettings
from sensord.stream.cluster import client_config
from sensord.stream.decoders.json import JsonDecoder
from sensord.stream.kafka import SESSION_TIMEOUT_S, _group_config, _partition, _records

POLL_MS = 300


@click.command(help=__doc__)
@click.option("--kafka", required=True)
@click.option("--topic", required=True)
@click.option("--decode", help="Also decode JSON, with these channels (separated by commas).")
def main(kafka: str, topic: str, decode: str | None) -> None:
    settings = KafkaSettings(bootstrap_servers=kafka, group_id=f"bench-{uuid4().hex[:8]}")
    consumer = KafkaConsumer(**client_config(settings) | _group_config(settings, SESSION_TIMEOUT_S))
    tps = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
    total = sum(consumer.end_offsets(tps).values())
    consumer.assign(tps)
    for tp in tps:
        consumer.seek(tp, 0)
    decoder = JsonDecoder(decode.split(",")) if decode else None
    begun = time.perf_counter()
    readings = 0
    while readings < total:
        for tp, found in consumer.poll(timeout_ms=POLL_MS).items():
            if decoder is None:
                readings += len(found)
            else:
                readings += len(decoder.decode(_partition(tp), _records(found)).readings)
    seconds = time.perf_counter() - begun
    consumer.close()
    click.echo(json.dumps({"readings": readings, "seconds": seconds}))


if __name__ == "__main__":
    main()
