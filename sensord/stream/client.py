"""kafka-python's network client, but for two faults. Used by `cluster` for every client.

It drops what comes together with the end of a connection: a broker that refuses a password says so and hangs up at
once, so that the reason got lost more often than not. And it reads from a connection that was closed while it waited
for it, which it logs as an error, with a traceback, in the midst of a drain.
"""

from types import MethodType
from typing import Any

from kafka.errors import KafkaConnectionError
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector


def network_client(**config: Any) -> KafkaNetClient:
    """What KafkaNetClient(**config) makes, with last words heard."""
    net = NetworkSelector(**config)
    return KafkaNetClient(net, _Manager(net, **config), **config)


class _Manager(KafkaConnectionManager):  # type: ignore[misc]  # kafka-python publishes no types
    async def _build_transport(self, *args: Any, **kwargs: Any) -> Any:
        transport = await super()._build_transport(*args, **kwargs)
        transport._sock_recv = MethodType(_received, transport)
        return transport


def _received(transport: Any) -> tuple[bytes, Exception | None]:
    """Data before the error that follows it; the next read meets that again. Of what is closed by now: its end."""
    if transport._sock is None:
        return b"", KafkaConnectionError("closed by us")
    data, error = type(transport)._sock_recv(transport)
    return (data, None) if data else (data, error)
