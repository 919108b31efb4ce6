"""Pictures for `sensord compare`, drawn by matplotlib as PNG. Imported only where a picture is asked for."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sensord.trainer.compare.long_gap import LongGap
from sensord.trainer.compare.sine import HEARD, Forecast, truth

WIDTH_IN, DPI = 8.0, 150
INK, MUTED, GRID = "#222222", "#666666", "#dddddd"
COLOURS = {"lstm": "#0b6e99", "gru": "#e07a1f", "rnn": "#b03a5b", "transformer": "#4d8c3f"}
MARKS = {"lstm": "o", "gru": "s", "rnn": "v", "transformer": "D"}
DASHES = {"untrained": (0, (5, 2)), "var1": (0, (1, 1.5)), "t2": (0, (5, 2, 1, 2))}  # the baselines, in grey


def draw_sine(found: Mapping[str, Forecast], folder: Path) -> Path:
    """Truth and prediction, a row a cell; returns the file. Raises OSError."""
    figure = Figure(figsize=(WIDTH_IN, 0.7 + 1.3 * len(found)), layout="constrained")
    rows = figure.subplots(len(found), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    wave = truth()
    for axes, (cell, one) in zip(rows, found.items(), strict=True):
        axes.axvspan(0, HEARD - 0.5, color="#f2f2f2", linewidth=0)
        axes.plot(wave, color=MUTED, linewidth=3.5, alpha=0.45, label="truth")
        axes.plot(np.arange(1, len(wave)), one.predicted, color=_colour(cell), linewidth=1.4, label="prediction")
        axes.set_title(f"{cell}: error alone {one.error:.3f}", loc="left", fontsize=9, color=INK)
        axes.set_ylim(-1.6, 1.6)
        _frame(axes)
    rows[0].legend(loc="upper right", ncols=2, fontsize=8, frameon=False, bbox_to_anchor=(1.0, 1.32))
    rows[0].text(HEARD - 2, -1.5, "hears the truth", ha="right", va="bottom", fontsize=8, color=MUTED)
    rows[0].text(HEARD + 1, -1.5, "goes on alone", ha="left", va="bottom", fontsize=8, color=MUTED)
    rows[-1].set_xlabel("reading", fontsize=9)
    rows[-1].set_xlim(0, len(wave) - 1)
    return _save(figure, folder, "sine.png")


def draw_long_gap(found: LongGap, folder: Path) -> Path:
    """AUC over the gap: means as lines, every seed as a dot; returns the file. Raises OSError."""
    figure = Figure(figsize=(WIDTH_IN, 4.2), layout="constrained")
    axes = figure.subplots()
    gaps = list(found.auc)
    axes.axhline(0.5, color=GRID, linewidth=6, zorder=0)
    for name in found.names:
        means = [found.mean(gap, name) for gap in gaps]
        colour, mark = _colour(name), MARKS.get(name, "x")  # seen where there is one gap alone, too
        axes.plot(gaps, means, color=colour, marker=mark, markersize=5, linestyle=DASHES.get(name, "-"), label=name)
        if name in MARKS:
            for gap in gaps:
                axes.scatter([gap] * len(found.auc[gap][name]), found.auc[gap][name], s=10, color=colour, alpha=0.45)
    axes.set_xscale("log", base=2)
    axes.set_xticks(gaps, [str(gap) for gap in gaps])
    axes.minorticks_off()
    axes.set_xlabel("readings between the command and what it decides", fontsize=9)
    axes.set_ylabel("AUC (0.5 is a coin)", fontsize=9)
    axes.set_ylim(0.4, 1.03)
    _frame(axes)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9, frameon=False)
    return _save(figure, folder, "long-gap.png")


def _colour(name: str) -> str:
    return COLOURS.get(name, MUTED)


def _frame(axes: Axes) -> None:
    axes.grid(linewidth=0.6, color=GRID)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=8, labelcolor=MUTED)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)


def _save(figure: Figure, folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / name, dpi=DPI, metadata={"Software": None})
    return folder / name
