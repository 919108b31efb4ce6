"""Real servers for tests and the demo: Apache Kafka, PostgreSQL, an embedded Kafka-protocol broker.

Each is a context manager that yields a Server on a free port of 127.0.0.1 with its data in a temporary folder, and
leaves neither process nor folder behind:

    with apache_kafka() as broker:
        KafkaProducer(bootstrap_servers=broker.address)

`scripts/services` offers the same on the command line.
"""

from tests.services.embedded import embedded_kafka
from tests.services.kafka import SecuredServer, apache_kafka, secured_kafka
from tests.services.postgres import postgresql
from tests.services.process import Server, ServerUnavailable

__all__ = [
    "SecuredServer",
    "Server",
    "ServerUnavailable",
    "apache_kafka",
    "embedded_kafka",
    "postgresql",
    "secured_kafka",
]
