"""Pictures: one device's events, channels as observed and expected, and score against the threshold; and curves.

Drawn by matplotlib as SVG that takes its colours from the page, so that it suits a light and a dark one.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from textwrap import fill

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, num2date
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from sensord.readings import Floats

Wide = NDArray[np.float64]

WIDTH_IN = 9.6
EVENTS_IN, CHANNEL_IN, SCORE_IN, EDGES_IN = 0.42, 1.05, 1.25, 0.45
CURVES_IN = (5.0, 3.3)
NAME_WIDTH = 14  # letters of a channel's name in a line
BUCKETS = 600  # of a line with more than twice as many points; the least and the greatest of each are drawn
LETTER = 0.0075  # of a picture's width, of an event's label
SOME_MINUTES, HALF_A_DAY, SOME_DAYS = timedelta(minutes=5), timedelta(hours=36), timedelta(days=10)

# Colours that nothing else uses; each becomes a variable of the page's style sheet.
INK, MUTED, GRID = "#010101", "#020202", "#030303"
OBSERVED, EXPECTED, SCORE, LIMIT = "#040404", "#050505", "#060606", "#070707"
FAULT, ALERT = "#080808", "#090909"
SERIES = ("#0a0a0a", "#0b0b0b", "#0c0c0c", "#0d0d0d", "#0e0e0e")
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    OBSERVED: "--observed",
    EXPECTED: "--expected",
    SCORE: "--score",
    LIMIT: "--limit",
    FAULT: "--fault",
    ALERT: "--alert",
    **{colour: f"--series{number}" for number, colour in enumerate(SERIES, start=1)},
}
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "sensord",  # the same picture has the same bytes
    "font.size": 8.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "grid.color": GRID,
    "path.simplify_threshold": 0.3,
}


@dataclass(frozen=True, slots=True)
class Event:
    """A fault or an alert on the time axis. label: what is written into it."""

    start: datetime
    end: datetime
    label: str


@dataclass(frozen=True, slots=True)
class Line:
    """One channel: observed and expected (n,), NaN where absent."""

    name: str
    unit: str
    observed: Floats
    expected: Floats


@dataclass(frozen=True, slots=True)
class Picture:
    """What a picture shows. at (n,) microseconds UTC; score and limit (n,), NaN where a reading was not scored, None
    where no score is known.

    judged_at: where the history ends, which is greyed; None where all is judged. cycles: the time axis counts cycles,
    each taken for a second. rows: what the two rows of events are called. marked_at: where a line goes across all.
    """

    at: NDArray[np.int64]
    lines: Sequence[Line]
    score: Floats | None
    limit: Floats | None
    faults: Sequence[Event]
    alerts: Sequence[Event]
    judged_at: datetime | None = None
    cycles: bool = False
    rows: tuple[str, str] = ("fault", "alert")
    marked_at: datetime | None = None

    @property
    def first(self) -> float:
        return float(self.at[0]) / 1e6

    @property
    def last(self) -> float:
        return float(self.at[-1]) / 1e6


def draw(picture: Picture, name: str) -> str:
    """An <svg> element. name: letters and digits, unique in the page, for the ids inside."""
    scores = [] if picture.score is None or picture.limit is None else [(picture.score, picture.limit)]
    heights = [EVENTS_IN, *[CHANNEL_IN] * len(picture.lines), *[SCORE_IN] * len(scores)]
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]  # its keys are literals
        figure = Figure(figsize=(WIDTH_IN, sum(heights) + EDGES_IN), layout="constrained")
        figure.get_layout_engine().set(h_pad=0.03, w_pad=0.02, hspace=0.02)  # type: ignore[union-attr, call-arg]
        axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        when = picture.at / 1e6  # seconds since the epoch
        _draw_events(axes[0], picture)
        for axis, line in zip(axes[1:], picture.lines, strict=False):
            _draw_line(axis, when, line)
        for score, limit in scores:
            _draw_score(axes[-1], when, score, limit)
        for axis in axes[1:]:
            _shade(axis, picture)
        axes[0].set_xlim(picture.first, picture.last)
        _mark_time(axes[-1], picture)
        figure.align_ylabels(axes[1:])
        return _svg(figure, name)


def _draw_events(axis: Axes, picture: Picture) -> None:
    """Two rows of bars: what was wrong, and what was said. A label stands in its bar, else beside it where there is
    room before the next, else nowhere."""
    width = picture.last - picture.first
    for row, (events, colour) in enumerate(((picture.faults, FAULT), (picture.alerts, ALERT))):
        spans = sorted((_clipped(event, picture), event.label) for event in events)
        bounds = [*(start for (start, _), _ in spans), picture.last]
        for ((start, end), label), free in zip(spans, bounds[1:], strict=True):
            axis.barh(row, max(end - start, width / 500), left=start, height=0.72, color=colour)
            long = len(label) * LETTER * width
            if long <= end - start:
                axis.text((start + end) / 2, row, label, ha="center", va="center", fontsize=7.5, color=INK)
            elif long < free - end:
                axis.text(end + width / 200, row, label, ha="left", va="center", fontsize=7.5, color=INK)
    axis.set_ylim(1.5, -0.5)
    axis.set_yticks([0, 1], picture.rows)
    axis.tick_params(length=0, labelbottom=False)
    axis.spines[:].set_visible(False)


def _clipped(event: Event, picture: Picture) -> tuple[float, float]:
    """Beginning and end as far as they are in the picture."""
    return max(event.start.timestamp(), picture.first), min(event.end.timestamp(), picture.last)


def _draw_line(axis: Axes, when: Wide, line: Line) -> None:
    axis.plot(*thinned(when, line.observed), color=OBSERVED, linewidth=0.9)
    axis.plot(*thinned(when, line.expected), color=EXPECTED, linewidth=1.1)
    _frame(axis, f"{fill(line.name.replace('_', ' '), NAME_WIDTH)}\n{line.unit}".rstrip())


def _draw_score(axis: Axes, when: Wide, score: Floats, limit: Floats) -> None:
    axis.plot(*thinned(when, score), color=SCORE, linewidth=1.1)
    axis.plot(*thinned(when, limit), color=LIMIT, linewidth=1.1, linestyle=(0, (4, 2)))
    if len(when) <= 2 * BUCKETS:
        axis.fill_between(when, score, limit, where=(score > limit).tolist(), color=SCORE, alpha=0.25, linewidth=0)
    axis.set_ylim(bottom=0)
    _frame(axis, "score")


def thinned(x: Wide, y: Floats) -> tuple[Wide, Floats]:
    """A line with no more points than can be seen: of each bucket the first least and the first greatest; NaN stays
    where a whole bucket is. x, y: (n,)."""
    if len(x) <= 2 * BUCKETS:
        return x, y
    edges = np.linspace(0, len(x), BUCKETS + 1).astype(np.int64).tolist()
    keep = []
    for first, last in pairwise(edges):
        known = first + np.flatnonzero(np.isfinite(y[first:last]))
        ends = sorted({int(known[np.argmin(y[known])]), int(known[np.argmax(y[known])])}) if len(known) else [first]
        keep += ends
    return x[keep], y[keep]


def _mark_time(axis: Axes, picture: Picture) -> None:
    """Seconds since the epoch as times that suit the span, or as cycles."""
    if picture.cycles:
        axis.set_xlabel("cycle", fontsize=8)
        axis.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        return
    span = timedelta(seconds=picture.last - picture.first)
    form = (
        "%H:%M:%S"
        if span < SOME_MINUTES
        else "%H:%M"
        if span < HALF_A_DAY
        else "%d %b %H:%M"
        if span < SOME_DAYS
        else "%d %b %Y"
    )
    locator = AutoDateLocator(minticks=4, maxticks=10 if span < HALF_A_DAY else 7)  # type: ignore[no-untyped-call]
    ticks = num2date(locator.tick_values(*(datetime.fromtimestamp(at, UTC) for at in (picture.first, picture.last))))  # type: ignore[no-untyped-call]
    shown = [at for at in ticks if picture.first <= at.timestamp() <= picture.last]
    axis.set_xticks([at.timestamp() for at in shown], [f"{at:{form}}" for at in shown])


def _frame(axis: Axes, label: str) -> None:
    axis.set_ylabel(label, fontsize=8)
    axis.grid(linewidth=0.6)
    axis.set_axisbelow(True)
    axis.margins(y=0.08)
    axis.locator_params(axis="y", nbins=4)
    axis.ticklabel_format(axis="y", useOffset=False)
    axis.tick_params(length=0)
    axis.spines[["top", "right"]].set_visible(False)


def _shade(axis: Axes, picture: Picture) -> None:
    if picture.judged_at is not None and picture.judged_at.timestamp() > picture.first:
        axis.axvspan(picture.first, picture.judged_at.timestamp(), color=MUTED, alpha=0.1, linewidth=0)
    for fault in picture.faults:
        axis.axvspan(fault.start.timestamp(), fault.end.timestamp(), color=FAULT, alpha=0.16, linewidth=0)
    for alert in picture.alerts:
        axis.axvspan(alert.start.timestamp(), alert.end.timestamp(), color=ALERT, alpha=0.13, linewidth=0)
        for edge in (alert.start, alert.end):
            axis.axvline(edge.timestamp(), color=ALERT, linewidth=0.8, alpha=0.7)
    if picture.marked_at is not None:
        axis.axvline(picture.marked_at.timestamp(), color=INK, linewidth=1.1, linestyle=(0, (1, 1.5)))


@dataclass(frozen=True, slots=True)
class Curve:
    """A named line with a dot where thresholds put it; all (points,) or one number."""

    name: str
    x: Wide
    y: Wide
    dot: tuple[float, float]


def draw_curves(curves: Sequence[Curve], across: str, up: str, name: str) -> str:
    """Curves from 0 to 1 in both directions, as an <svg> element; at most as many as there are series' colours."""
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]  # its keys are literals
        figure = Figure(figsize=CURVES_IN, layout="constrained")
        axis = figure.subplots()
        for number, (curve, colour) in reversed(list(enumerate(zip(curves, SERIES, strict=False)))):
            x, y = thinned(curve.x, np.asarray(curve.y, np.float32))
            axis.plot(x, y, color=colour, linewidth=1.2 if number else 2.0)
            axis.plot(*curve.dot, "o", color=colour, markersize=5 if number else 7)
        _frame(axis, up)
        axis.set_xlabel(across, fontsize=8)
        axis.set_xlim(0, 1.01)
        axis.set_ylim(0, 1.02)
        return _svg(figure, name)


def _svg(figure: Figure, name: str) -> str:
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_the_page(drawn.getvalue(), name)


def _for_the_page(svg: str, name: str) -> str:
    """The element alone, its ids made unique, its colours the page's, its size the page's business."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg


def around(events: Sequence[Event], before: timedelta, after: timedelta) -> tuple[datetime, datetime]:
    """The time that holds all events, with some before and after."""
    return min(event.start for event in events) - before, max(event.end for event in events) + after
