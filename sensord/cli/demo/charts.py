"""Pictures of one device: its events, its channels as observed and expected, its score against the threshold.

Drawn by matplotlib as SVG that takes its colours from the page, so that it suits a light and a dark one.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, DateFormatter
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sensord.readings import Floats

WIDTH_IN = 9.6
EVENTS_IN, CHANNEL_IN, SCORE_IN, EDGES_IN = 0.42, 1.05, 1.25, 0.45

# Colours that nothing else uses; each becomes a variable of the page's style sheet.
INK, MUTED, GRID = "#010101", "#020202", "#030303"
OBSERVED, EXPECTED, SCORE, LIMIT = "#040404", "#050505", "#060606", "#070707"
FAULT, ALERT = "#080808", "#090909"
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
    """What a picture shows. at (n,) microseconds UTC; score and limit (n,), NaN where a reading was not scored."""

    at: NDArray[np.int64]
    lines: Sequence[Line]
    score: Floats
    limit: Floats
    faults: Sequence[Event]
    alerts: Sequence[Event]


def draw(picture: Picture, name: str) -> str:
    """An <svg> element. name: letters and digits, unique in the page, for the ids inside."""
    heights = [EVENTS_IN, *[CHANNEL_IN] * len(picture.lines), SCORE_IN]
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]  # its keys are literals
        figure = Figure(figsize=(WIDTH_IN, sum(heights) + EDGES_IN), layout="constrained")
        figure.get_layout_engine().set(h_pad=0.03, w_pad=0.02, hspace=0.02)  # type: ignore[union-attr, call-arg]
        axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        when = np.array([datetime.fromtimestamp(at / 1e6, UTC) for at in picture.at.tolist()])
        _draw_events(axes[0], picture)
        for axis, line in zip(axes[1:-1], picture.lines, strict=True):
            _draw_line(axis, when, line)
        _draw_score(axes[-1], when, picture)
        for axis in axes[1:]:
            _shade(axis, picture)
        axes[0].set_xlim(when[0], when[-1])
        figure.align_ylabels(axes[1:])
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_the_page(drawn.getvalue(), name)


def _draw_events(axis: Axes, picture: Picture) -> None:
    """Two rows of bars: what was wrong, and what was said."""
    first, last = (datetime.fromtimestamp(picture.at[i] / 1e6, UTC) for i in (0, -1))
    for row, (events, colour) in enumerate(((picture.faults, FAULT), (picture.alerts, ALERT))):
        for event in events:
            axis.barh(row, event.end - event.start, left=event.start, height=0.72, color=colour)  # type: ignore[arg-type]
            middle = max(event.start, first) + (min(event.end, last) - max(event.start, first)) / 2
            axis.text(middle, row, event.label, ha="center", va="center", fontsize=7.5, color=INK)  # type: ignore[arg-type]
    axis.set_ylim(1.5, -0.5)
    axis.set_yticks([0, 1], ["fault", "alert"])
    axis.tick_params(length=0, labelbottom=False)
    axis.spines[:].set_visible(False)


def _draw_line(axis: Axes, when: NDArray[np.object_], line: Line) -> None:
    axis.plot(when, line.observed, color=OBSERVED, linewidth=0.9)
    axis.plot(when, line.expected, color=EXPECTED, linewidth=1.1)
    _frame(axis, f"{line.name.replace('_', ' ')}\n{line.unit}")


def _draw_score(axis: Axes, when: NDArray[np.object_], picture: Picture) -> None:
    score, limit = picture.score, picture.limit
    axis.plot(when, score, color=SCORE, linewidth=1.1)
    axis.plot(when, limit, color=LIMIT, linewidth=1.1, linestyle=(0, (4, 2)))
    beyond = score > limit
    axis.fill_between(when, score, limit, where=beyond.tolist(), color=SCORE, alpha=0.25, linewidth=0)
    axis.set_ylim(bottom=0)
    _frame(axis, "score")
    axis.xaxis.set_major_locator(AutoDateLocator(minticks=4, maxticks=10))  # type: ignore[no-untyped-call]
    axis.xaxis.set_major_formatter(DateFormatter("%H:%M", tz=UTC))  # type: ignore[no-untyped-call]


def _frame(axis: Axes, label: str) -> None:
    axis.set_ylabel(label, fontsize=8)
    axis.grid(linewidth=0.6)
    axis.set_axisbelow(True)
    axis.margins(y=0.08)
    axis.locator_params(axis="y", nbins=4)
    axis.tick_params(length=0)
    axis.spines[["top", "right"]].set_visible(False)


def _shade(axis: Axes, picture: Picture) -> None:
    for fault in picture.faults:
        axis.axvspan(fault.start, fault.end, color=FAULT, alpha=0.16, linewidth=0)  # type: ignore[arg-type]
    for alert in picture.alerts:
        axis.axvspan(alert.start, alert.end, color=ALERT, alpha=0.13, linewidth=0)  # type: ignore[arg-type]
        for edge in (alert.start, alert.end):
            axis.axvline(edge, color=ALERT, linewidth=0.8, alpha=0.7)  # type: ignore[arg-type]


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
