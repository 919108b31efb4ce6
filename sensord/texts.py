"""How names, times and figures are written for people: in the terminal, on pages, in messages."""

import unicodedata
from datetime import datetime, timedelta


def printable(text: str) -> str:
    """The text with everything escaped that could steer a terminal, or turn what stands around it."""
    return "".join(
        sign.encode("unicode_escape").decode() if unicodedata.category(sign)[0] == "C" else sign for sign in text
    )


def time_text(at: datetime | None) -> str:
    """UTC to the second."""
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def figure(value: float | None) -> str:
    """Four significant digits."""
    return "" if value is None else f"{value:.4g}"


def duration(span: timedelta) -> str:
    """Minutes and seconds, or days and hours, as people say them."""
    seconds = round(abs(span).total_seconds())
    sign = "−" if span < timedelta(0) else ""
    if seconds >= 86_400:
        return f"{sign}{seconds // 86_400} d {seconds % 86_400 // 3_600} h"
    if seconds >= 7_200:
        return f"{sign}{seconds // 3_600} h {seconds % 3_600 // 60:02d} min"
    return f"{sign}{seconds // 60} min {seconds % 60:02d} s" if seconds >= 60 else f"{sign}{seconds} s"
