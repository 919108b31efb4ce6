"""What pages are put together from: the page around it all, boxes with a figure, badges, legends, scrolling tables."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from sensord import __version__

STYLE = Path(__file__).with_name("page.css")
SMALL = 12  # characters from which a box's figure is set smaller


def whole_page(title: str, subtitle: str, content: str, facts: Iterable[str]) -> str:
    """The whole page. subtitle: a sentence under the title; facts: how it came about, a sentence each, at the foot."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
<p class="muted">{escape(subtitle)}</p>
{content}
<footer>{"".join(f"<p>{escape(fact)}</p>" for fact in facts)}<p>sensord {escape(__version__)}.</p></footer>
</main>
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class Box:
    """One figure and what it is. mood: good, bad or ""."""

    value: str
    label: str
    mood: str = ""


def summary(boxes: Sequence[Box]) -> str:
    """Figures side by side."""
    return f'<div class="summary">{"".join(map(_box, boxes))}</div>'


def _box(box: Box) -> str:
    small = ' class="small"' if len(box.value) > SMALL else ""
    return f'<div class="figure {box.mood}"><b{small}>{escape(box.value)}</b><span>{escape(box.label)}</span></div>'


def table(
    headings: Sequence[str], rows: Iterable[str], right: Iterable[int] = (), note: str = "", title: str = ""
) -> str:
    """A card with a table that scrolls sideways. rows: <tr> elements. right: columns of numbers."""
    numbers = set(right)
    head = "".join(
        f"<th{' class=right' if number in numbers else ''}>{escape(heading)}</th>"
        for number, heading in enumerate(headings)
    )
    foot = f'<p class="note">{escape(note)}</p>' if note else ""
    above = f"<h3>{escape(title)}</h3>" if title else ""
    body = "".join(rows)
    inner = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return f'<div class="card">{above}{inner}{foot}</div>'


def legend(*keys: tuple[str, str, str]) -> str:
    """(class, variable of the style sheet, text) each; classes: stroke, dashes, hollow or "" for a patch."""
    spans = (f'<span class="{kind}" style="--key:var({key})">{escape(text)}</span>' for kind, key, text in keys)
    return f'<div class="card legend">{"".join(spans)}</div>'


def badge(mood: str, text: str) -> str:
    """mood: good, bad or warn."""
    return f'<span class="badge {mood}">{escape(text)}</span>'


def link(device: str) -> str:
    """To the device's card."""
    return f'<a href="#{escape(device)}">{escape(device)}</a>'
