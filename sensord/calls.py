"""One HTTP call: one try, one limit on the whole of its time, and on what is read of the answer.

Used by `stream` and `notify`. Whoever has a call to repeat knows better when. Proxies and certificates are those of the
system's environment (HTTPS_PROXY, SSL_CERT_FILE).
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import httpx2

from sensord.errors import SensordError

MOST = 1 << 20  # bytes of an answer; what comes after them is not read


class NoAnswer(SensordError):
    """Nothing, or nothing whole, came in time; says what kind of trouble it was, never the url."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the other side said."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def call(
    method: str, url: str, timeout_s: float, headers: Mapping[str, str] | None = None, body: bytes | None = None
) -> Answer:
    """Ask, and wait for timeout_s at most, however slowly the answer drips. A user and password in the url are sent as
    basic authorization; redirects are not followed. Raises NoAnswer."""
    try:
        return asyncio.run(_call(method, url, timeout_s, headers or {}, body))
    except TimeoutError as error:
        raise NoAnswer(f"no answer within {timeout_s:g} s") from error
    except (httpx2.HTTPError, httpx2.InvalidURL, ssl.SSLError, OSError, ValueError) as error:
        raise NoAnswer(f"no answer: {type(error).__name__}") from error


async def _call(method: str, url: str, timeout_s: float, headers: Mapping[str, str], body: bytes | None) -> Answer:
    trusted = ssl.create_default_context() if url.startswith("https:") else False
    async with (
        asyncio.timeout(timeout_s),
        httpx2.AsyncClient(timeout=None, verify=trusted) as client,  # the limit is the one above
        client.stream(method, url, headers=dict(headers), content=body) as answer,
    ):
        said = bytearray()
        async for part in answer.aiter_bytes():
            said += part
            if len(said) >= MOST:
                break
        return Answer(answer.status_code, answer.headers, bytes(said[:MOST]))
