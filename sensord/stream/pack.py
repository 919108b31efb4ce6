"""Writes a text file whole or not at all, packed as its name says; the counterpart of `unpack`."""

import gzip
import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TextIO, cast

import zstandard


@contextmanager
def create_text(path: Path) -> Iterator[TextIO]:
    """A file that takes its name when the block ends well or is interrupted from the keyboard.

    `.gz` and `.zst` are packed; the same text gives the same bytes. After an error what was written stays, readable,
    as NAME.partial. Raises OSError.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with _created(partial, path.suffix) as text:
            yield text
    except KeyboardInterrupt:
        if partial.exists():  # it may come before the file does
            partial.replace(path)
        raise
    partial.replace(path)


@contextmanager
def _created(path: Path, suffix: str) -> Iterator[TextIO]:
    with ExitStack() as stack:
        file = stack.enter_context(path.open("wb"))
        binary: IO[bytes] = file
        if suffix == ".gz":
            binary = cast(IO[bytes], stack.enter_context(gzip.GzipFile("", "wb", 6, file, 0)))
        elif suffix == ".zst":
            binary = stack.enter_context(zstandard.ZstdCompressor().stream_writer(file, closefd=False))
        text = stack.enter_context(io.TextIOWrapper(binary, encoding="utf-8", newline="\n"))
        yield text
