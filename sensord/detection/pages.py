"""What state pages have in common: a magic word that says what kind, and a checksum over the rest.

Used by `devices` and `reorder`, each of which reads the rest of its own.
"""

import zlib

from sensord.errors import StateUnreadable

CHECKSUM = 4  # bytes


def seal(magic: bytes, content: bytes) -> bytes:
    """A page."""
    return magic + zlib.crc32(content).to_bytes(CHECKSUM, "little") + content


def unseal(magic: bytes, page: bytes, name: str, least: int) -> memoryview:
    """A page's content, of `least` bytes or more. Raises StateUnreadable, which calls it by its name."""
    start = len(magic) + CHECKSUM
    if len(page) < start + least or page[: len(magic)] != magic:
        raise StateUnreadable(f"{name} doesn't begin as one: {magic.decode()} is missing")
    content = memoryview(page)[start:]
    if zlib.crc32(content) != int.from_bytes(page[len(magic) : start], "little"):
        raise StateUnreadable(f"{name} is damaged: its checksum doesn't match")
    return content
