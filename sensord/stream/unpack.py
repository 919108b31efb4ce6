"""Opens a recorded file as text, unpacking gzip and zstandard by what the file holds, not by its name."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TextIO, cast

import zstandard

from sensord.errors import RecordingUnreadable

GZIP, ZSTANDARD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
BLOCK = 1 << 18  # bytes read at once


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """The file's text, line ends as they are. Raises RecordingUnreadable for all that goes wrong while it is open:
    a missing file, a damaged or cut-off packing, bytes that aren't UTF-8.
    """
    try:
        with ExitStack() as stack:
            file = stack.enter_context(path.open("rb"))
            magic = file.peek(4)[:4]
            binary: IO[bytes] = file
            if magic.startswith(GZIP):
                binary = cast(IO[bytes], stack.enter_context(gzip.GzipFile(fileobj=file)))
            elif magic == ZSTANDARD:
                binary = cast(IO[bytes], stack.enter_context(io.BufferedReader(_Blocks(_unpacked(file)))))
            yield stack.enter_context(io.TextIOWrapper(binary, encoding="utf-8-sig", newline=""))
    except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
        raise RecordingUnreadable(f"{path}: damaged or cut off while packed: {error}") from error
    except UnicodeDecodeError as error:
        raise RecordingUnreadable(f"{path}: not UTF-8 text ({error.reason}); convert it to UTF-8") from error
    except OSError as error:
        raise RecordingUnreadable(f"{path}: {error.strerror or error}") from error


def _unpacked(file: IO[bytes]) -> Iterator[bytes]:
    """Every frame's bytes. zstandard's own reader ends silently where a frame is cut off."""
    frame = zstandard.ZstdDecompressor().decompressobj()
    whole = False
    while packed := file.read(BLOCK):
        while packed:
            if whole:
                frame = zstandard.ZstdDecompressor().decompressobj()
            yield frame.decompress(packed)
            whole, packed = frame.eof, frame.unused_data
    if not whole:
        raise EOFError("the last zstandard frame is not complete")


class _Blocks(io.RawIOBase):
    """An iterator of bytes as a file."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]  # all that BufferedReader passes
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._rest = block
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size
