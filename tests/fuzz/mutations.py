"""Good inputs made bad: a seeded source of bytes that readers of untrusted bytes have to survive."""

import random
from collections.abc import Callable, Sequence

DEEP = 20_000  # brackets
LARGEST = 64 << 10  # bytes of an input; what is larger is refused before it is read
CUTS = (
    b"",
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xc0\x80",
    b"\xf4\x90\x80\x80",
    b'"',
    b"\\u0000",
    b"\\ud800",
    b"\xef\xbb\xbf",
)
WORDS = (
    *(b"null", b"true", b"NaN", b"-Infinity", b"{}", b"[]", b'""', b"-", b"0x10", b"1e999", b"-1e-999", b"1e", b".5"),
    *(
        b"9" * 400,
        b"9" * 5_000,
        b"-" + b"9" * 19,
        b"18446744073709551616",
        b"9223372036854775808",
        b"0" * 300,
        b"1" * 17,
    ),
    *(b"0.1e308", b"3.5e38", b'"1970-01-01T00:00:00Z"', b'"0001-01-01T00:00:00+23:59"', b"1e-400", b"253402300800000"),
    *(b"[" * 50, b'{"a":' * 50),
)
HUGE = (b"[" * DEEP, b'{"":' * DEEP, b"[" * DEEP + b"]" * DEEP, b"9" * LARGEST, b"0," * DEEP, b"{}," * DEEP)
SELDOM = 0.002  # of the places where it could be: what is large is slow to read
Mutation = Callable[[random.Random, bytearray], bytearray]


def mutated(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds after one to six mutations, LARGEST bytes at most."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randint(1, 6)):
        data = rng.choice(MUTATIONS)(rng, data)
    if rng.random() < 0.05:
        data = _spliced(rng, data, rng.choice(seeds))
    return bytes(data[:LARGEST])


def _flip(rng: random.Random, data: bytearray) -> bytearray:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def _overwrite(rng: random.Random, data: bytearray) -> bytearray:
    at = rng.randrange(len(data) + 1)
    word = rng.randbytes(rng.randint(1, 8))
    data[at : at + len(word)] = word
    return data


def _insert(rng: random.Random, data: bytearray) -> bytearray:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.choice(CUTS)
    return data


def _delete(rng: random.Random, data: bytearray) -> bytearray:
    at = rng.randrange(len(data) + 1)
    del data[at : at + rng.randint(1, 16)]
    return data


def _cut_short(rng: random.Random, data: bytearray) -> bytearray:
    return data[: rng.randrange(len(data) + 1)] if rng.random() < 0.3 else data


def _repeat(rng: random.Random, data: bytearray) -> bytearray:
    at = rng.randrange(len(data) + 1)
    part = data[at : at + rng.randint(1, 64)]
    times = LARGEST // (len(part) + 1) if rng.random() < SELDOM else rng.randint(1, 4)
    data[at:at] = part * times
    return data


def _value(rng: random.Random, data: bytearray) -> bytearray:
    """Something else in the place of what stands between two separators."""
    at = rng.randrange(len(data) + 1)
    begin = max(data.rfind(b":", 0, at), data.rfind(b",", 0, at), data.rfind(b"[", 0, at)) + 1
    end = min((place for place in (data.find(b",", at), data.find(b"}", at)) if place >= 0), default=len(data))
    data[begin:end] = rng.choice(HUGE if rng.random() < SELDOM else WORDS)
    return data


def _spliced(rng: random.Random, data: bytearray, other: bytes) -> bytearray:
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


MUTATIONS: tuple[Mutation, ...] = (
    _flip,
    _flip,
    _overwrite,
    _insert,
    _delete,
    _cut_short,
    _repeat,
    _value,
    _value,
    _value,
)
