"""InfluxDB's line protocol: lines of `measurement,tag=value field=1.5,other=2i 1465839830100400200`.

Several lines a record; those of one device and time stay points of their own. Numbers are floats, `i` integers, `u`
unsigned; booleans are 1 and 0; strings are no values. Empty lines and comments are skipped.
"""

from collections.abc import Iterable, Iterator

from sensord.readings import RawRecord
from sensord.stream.dead_letters import Reason, Refusal
from sensord.stream.formats.points import Parser, Point, each

TRUE, FALSE = {"t", "T", "true", "True", "TRUE"}, {"f", "F", "false", "False", "FALSE"}


def influx(tag: str) -> Parser:
    """tag: the one that names the device."""

    def parse(record: RawRecord, value: bytes) -> Iterable[Point]:
        try:
            text = value.decode()
        except UnicodeDecodeError as error:
            raise Refusal(Reason.MALFORMED, f"not UTF-8: {error.reason}") from None
        return each(_lines(text), lambda line: _point(line, tag), str.encode)

    return parse


def _lines(text: str) -> Iterator[str]:
    """Lines, where a quoted string may hold line ends."""
    begun, quoted = 0, False
    for place, sign in enumerate(text):
        if sign == '"' and not _is_escaped(text, place):
            quoted = not quoted
        elif sign == "\n" and not quoted:
            if line := _content(text[begun:place]):
                yield line
            begun = place + 1
    if line := _content(text[begun:]):
        yield line


def _content(line: str) -> str:
    line = line.strip()
    return "" if line.startswith("#") else line


def _point(line: str, tag: str) -> Point:
    parts = _split(line, " ")
    if len(parts) not in (2, 3):
        raise Refusal(
            Reason.MALFORMED, f"a line has measurement, fields and perhaps a time; this has {len(parts)} parts"
        )
    tags = dict(_pair(each) for each in _split(parts[0], ",")[1:])
    values: dict[str, object] = {}
    for name, written in map(_pair, _split(parts[1], ",")):
        if not written.startswith('"'):
            values[name] = _value(name, written)
    time = None if len(parts) == 2 else _time(parts[2])
    return Point(tags.get(tag), time, values, line.encode())


def _time(written: str) -> int:
    if not written.lstrip("-").isdigit():
        raise Refusal(Reason.BAD_TIME, f"the time {written!a} is no whole number")
    return int(written)


def _value(name: str, written: str) -> float:
    if written in TRUE or written in FALSE:
        return float(written in TRUE)
    whole = written[-1:] in ("i", "u")
    try:
        return float(int(written[:-1])) if whole else float(written)
    except (ValueError, OverflowError):
        raise Refusal(
            Reason.MALFORMED, f"{name!a} is {written[:40]!a}, which is no value of the line protocol"
        ) from None


def _pair(written: str) -> tuple[str, str]:
    name, *rest = _split(written, "=", most=1)
    if not rest or not name or not rest[0]:
        raise Refusal(Reason.MALFORMED, f"{written[:40]!a} is no name and value")
    return _plain(name), rest[0] if rest[0].startswith('"') else _plain(rest[0])


def _split(text: str, at: str, most: int = -1) -> list[str]:
    """Parts between signs that are neither escaped nor within quotes."""
    parts, begun, quoted = list[str](), 0, False
    for place, sign in enumerate(text):
        if sign == '"' and not _is_escaped(text, place):
            quoted = not quoted
        elif sign == at and not quoted and not _is_escaped(text, place) and len(parts) != most:
            parts.append(text[begun:place])
            begun = place + 1
    parts.append(text[begun:])
    return [part for part in parts if part or at != " "]


def _is_escaped(text: str, place: int) -> bool:
    slashes = 0
    while place > slashes and text[place - 1 - slashes] == "\\":
        slashes += 1
    return slashes % 2 == 1


def _plain(text: str) -> str:
    """Without the backslashes that escape something."""
    for sign in (",", "=", " "):
        text = text.replace(f"\\{sign}", sign)
    return text
