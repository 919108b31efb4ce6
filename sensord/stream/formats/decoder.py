"""The decoder of a fleet, by its settings. Used by whoever reads a fleet's topics."""

from collections.abc import Sequence

from sensord.readings import Partition, RawRecord
from sensord.settings import FleetSettings, MappingSettings
from sensord.stream.decoders import Decoded, Decoder
from sensord.stream.decoders.json import JsonDecoder
from sensord.stream.formats import sparkplug
from sensord.stream.formats.avro import SchemaRegistry, avro
from sensord.stream.formats.documents import Places, mapped, telegraf, thingsboard, umh
from sensord.stream.formats.influx import influx
from sensord.stream.formats.points import Parser, PointDecoder, Terms
from sensord.stream.formats.sparkplug import SparkplugDecoder

UNITS = {"telegraf": "s", "influx": "ns"}  # of formats that don't count milliseconds
TAG = "host"


def decoder_of(fleet: FleetSettings, channels: Sequence[str]) -> Decoder:
    """A decoder for these channels."""
    if fleet.decoder == "json":
        return JsonDecoder(channels, fleet.max_future_s)
    parse, unit = parser_of(fleet.decoder, fleet.mapping)
    terms = Terms(unit, fleet.mapping.rename, fleet.mapping.unknown == "refuse")
    if fleet.decoder == "sparkplug":
        return SparkplugDecoder(channels, terms, fleet.max_future_s, fleet.mapping.good)
    return PointDecoder(channels, parse, terms, fleet.max_future_s)


def read_through(decoder: Decoder, partition: Partition, records: Sequence[RawRecord]) -> Decoded:
    """What records hold, where nothing was before them."""
    return decoder.glossary().read(decoder.decode(partition, records))[0]


def parser_of(decoder: str, mapping: MappingSettings) -> tuple[Parser, str]:
    """A format's parser, our own JSON's too, and the unit of its times."""
    unit = UNITS.get(decoder, "ms") if mapping.time_unit == "auto" else mapping.time_unit
    return _parser(decoder, mapping), unit


def _parser(decoder: str, mapping: MappingSettings) -> Parser:
    tag = mapping.device.removeprefix("tags.") or TAG
    if decoder == "telegraf":
        return telegraf(tag)
    if decoder == "influx":
        return influx(tag)
    if decoder == "thingsboard":
        return thingsboard()
    if decoder == "umh":
        return umh()
    if decoder == "sparkplug":
        return sparkplug.parser({}, mapping.good)
    usual = Places()
    places = Places(
        mapping.device or usual.device,
        mapping.time or usual.time,
        usual.values if mapping.values is None else mapping.values,
        mapping.channel,
        mapping.value,
        mapping.quality,
        mapping.good,
    )
    if decoder == "avro":
        return avro(SchemaRegistry("" if mapping.registry is None else mapping.registry.get_secret_value()), places)
    return mapped(places, packed=decoder == "msgpack")
