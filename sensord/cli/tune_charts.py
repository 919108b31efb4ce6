"""Pictures for `sensord tune`, drawn by matplotlib as PNG or SVG. Imported only where a picture is asked for."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator

from sensord.trainer.search.choice import RANGES
from sensord.trainer.search.found import Found, Tried

WIDTH_IN, HEIGHT_IN, DPI = 9.0, 8.0, 150
INK, MUTED, GRID = "#222222", "#666666", "#dddddd"
TRIAL, BEST, FIRST = "#0b6e99", "#e07a1f", "#b03a5b"
ABREAST = 3  # settings in a row
TICKS = 4


def draw(found: Found, file: Path) -> None:
    """Merit from trial to trial, and over each setting. Raises OSError."""
    figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN), layout="constrained")
    tried = [each for each in found.tried if each.figures is not None]
    names = ("cell", *RANGES)
    rows = -(-len(names) // ABREAST)
    grid = figure.add_gridspec(1 + rows, ABREAST, height_ratios=(1.3, *[1.0] * rows))
    history = figure.add_subplot(grid[0, :])
    _draw_history(history, found, tried)
    for number, name in enumerate(names):
        axes = figure.add_subplot(grid[1 + number // ABREAST, number % ABREAST], sharey=history)
        _draw_setting(axes, name, found, tried)
        if number % ABREAST:
            axes.tick_params(labelleft=False)
        else:
            axes.set_ylabel("merit", fontsize=9)
    history.legend(loc="upper left", bbox_to_anchor=(0.0, 1.17), ncols=4, fontsize=8, frameon=False)
    with matplotlib.rc_context({"svg.hashsalt": "sensord"}):  # the same picture has the same bytes
        figure.savefig(file, dpi=DPI, metadata={"Date": None} if file.suffix == ".svg" else {"Software": None})


def _draw_history(axes: Axes, found: Found, tried: Sequence[Tried]) -> None:
    numbers, merits = [each.number for each in tried], [each.merit for each in tried]
    axes.step(numbers, list(accumulate(merits, max)), where="post", color=MUTED, linewidth=1.2, label="best so far")
    axes.scatter(numbers, merits, s=18, color=TRIAL, label="trial", zorder=3)
    axes.axhline(found.first.merit, color=FIRST, linewidth=1, linestyle=(0, (4, 3)))
    _mark(axes, found.best.number, found.best, BEST, "*", "best")
    _mark(axes, found.first.number, found.first, FIRST, "D", "settings in force")
    axes.set_xlim(-0.5, len(found.tried) - 0.5)
    axes.set_xlabel("trial", fontsize=9)
    axes.set_ylabel("merit (1 at best)", fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _frame(axes)


def _draw_setting(axes: Axes, name: str, found: Found, tried: Sequence[Tried]) -> None:
    numeric = name in RANGES
    words = sorted({str(each.choice.settings()[name]) for each in found.tried})

    def place(each: Tried) -> float:
        value = each.choice.settings()[name]
        return words.index(value) if isinstance(value, str) else value

    axes.scatter([place(each) for each in tried], [each.merit for each in tried], s=14, color=TRIAL, alpha=0.7)
    _mark(axes, place(found.best), found.best, BEST, "*")
    _mark(axes, place(found.first), found.first, FIRST, "D")
    axes.set_xlabel(name, fontsize=9, color=INK)
    if numeric:
        values = [place(each) for each in tried]
        _log_axis(axes, min(values), max(values))
    else:
        axes.set_xticks(range(len(words)), words)
        axes.set_xlim(-0.6, len(words) - 0.4)
    _frame(axes)


def _log_axis(axes: Axes, low: float, high: float) -> None:
    axes.set_xscale("log")
    ends = low / 1.15, high * 1.15
    axes.set_xlim(*ends)
    ratio = (high / low) ** (1 / (TICKS - 1))
    ticks = sorted({float(f"{low * ratio**step:.2g}") for step in range(TICKS)})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _mark(axes: Axes, at: float, tried: Tried, colour: str, mark: str, label: str | None = None) -> None:
    size = 170 if mark == "*" else 30  # both are seen where the settings in force are the best
    axes.scatter([at], [tried.merit], s=size, color=colour, marker=mark, label=label, zorder=4, edgecolor="white")


def _frame(axes: Axes) -> None:
    axes.grid(linewidth=0.6, color=GRID)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=8, labelcolor=MUTED)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)
