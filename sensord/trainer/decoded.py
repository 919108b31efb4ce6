"""A topic's records as the daemon reads them: decoded, and gathered into readings. Used by `history` and `tapes`."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from sensord.detection.align import Align
from sensord.readings import Partition, RawRecord, Readings
from sensord.stream.decoders import Decoder, Glossary


def decoded(
    decoder: Decoder,
    batches: Iterable[tuple[Partition, Sequence[RawRecord]]],
    channels: int,
    span: int,
    refused: Counter[str],
) -> Iterator[tuple[Partition, Readings]]:
    """Each batch's readings, and at the end what was still being gathered. span: see `align`, microseconds. refused:
    counts what was, by reason."""
    aligns: dict[Partition, Align] = {}
    glossaries: dict[Partition, Glossary] = {}
    for partition, records in batches:
        glossary = glossaries.get(partition) or decoder.glossary()
        found, glossaries[partition] = glossary.read(decoder.decode(partition, records))
        refused.update(letter.reason for letter in found.dead_letters)
        align = aligns.setdefault(partition, Align(partition, channels, span))
        yield partition, align.take(found.readings)
    for partition, align in aligns.items():
        yield partition, align.rest()
