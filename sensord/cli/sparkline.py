"""A curve in one line of text. Used where a terminal shows what a channel did."""

from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"
GAP = " "


def sparkline(values: Sequence[float | None], low: float, high: float) -> str:
    """One sign a value, its height between low and high; a gap where there is none.

    >>> sparkline([0.0, None, 1.0], 0.0, 1.0)
    '▁ █'
    """
    return "".join(GAP if value is None else BARS[_step(value, low, high)] for value in values)


def extent(*curves: Sequence[float | None]) -> tuple[float, float]:
    """The least and the greatest value of all, 0 and 0 where there is none: so that curves can be compared."""
    known = [value for curve in curves for value in curve if value is not None]
    return (min(known), max(known)) if known else (0.0, 0.0)


def _step(value: float, low: float, high: float) -> int:
    if high <= low:
        return 0
    return min(max(int((value - low) / (high - low) * len(BARS)), 0), len(BARS) - 1)
