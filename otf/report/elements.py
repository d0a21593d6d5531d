"""Elements of the pages: HTML that needs no network, no script and no other file."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np

from otf.errors import StoreError
from otf.report.style import CSS
from otf.store.disk import write_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path, PurePath

    from otf.report.figure import Drawing, Plot


def write_page(path: Path, text: str) -> None:
    """Write a page, or raise StoreError when that cannot be.

    Who reads it meanwhile, and a kill at any moment, see the old page or the new one.
    """
    try:
        write_text(path, text)
    except StoreError as error:
        raise StoreError(f"{error}: the page cannot be written") from error


def document(title: str, body: Sequence[str]) -> str:
    """Return a page that needs nothing else; the body is HTML."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )


def escape(text: object) -> str:
    """Return text that HTML shows as it is."""
    return html.escape(str(text))


def verdict_box(kind: str, word: str, reason: str) -> str:
    """Return a box with a verdict; it is good, calm or a warning (warn)."""
    return (
        f'<div class="verdict {kind}"><strong>{escape(word)}</strong> '
        f"<span>{escape(reason)}</span></div>"
    )


def cards(numbers: Iterable[tuple[str, str, str]]) -> str:
    """Return the cards of key numbers, each with its name, value and note."""
    parts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}"
        f"<small>{escape(note)}</small></dd></div>"
        for name, value, note in numbers
    )
    return f'<dl class="numbers">{parts}</dl>'


def section(name: str, title: str, parts: Sequence[str]) -> str:
    """Return a chapter of the page, empty when there is nothing in it."""
    body = "\n".join(part for part in parts if part)
    if not body:
        return ""
    heading = f"<h2>{escape(title)}</h2>"
    return f'<section class="chapter" id="{name}">{heading}\n{body}</section>'


def sentences(texts: Iterable[str]) -> str:
    """Return a list of findings, each a sentence; empty without any."""
    lines = "".join(f"<li>{escape(text)}</li>" for text in texts if text)
    return f'<ul class="findings">{lines}</ul>' if lines else ""


def note(text: str) -> str:
    """Return a paragraph in small words, such as how to read what is beside it."""
    return f'<p class="soft">{escape(text)}</p>' if text else ""


def gallery(drawings: Iterable[Drawing | None]) -> str:
    """Return drawings side by side, as many in a row as the screen has room for."""
    parts = [_drawing(one) for one in drawings if one is not None]
    return f'<div class="gallery">{"".join(parts)}</div>' if parts else ""


def _drawing(one: Drawing) -> str:
    alt = escape(one.alt)

    def labelled(svg: str, kind: str) -> str:
        look = f'<svg role="img" aria-label="{alt}"'
        return f'<div class="{kind}">{svg.replace("<svg", look, 1)}</div>'

    kind = "whole" if one.wide else "one"
    body = (
        labelled(one.svg, "narrow") + labelled(one.wide, "wide")
        if one.wide
        else labelled(one.svg, "always")
    )
    return (
        f'<figure class="{kind}" id="{one.name}"><h3>{escape(one.title)}</h3>\n'
        f"{body}</figure>"
    )


def figure(plot: Plot) -> str:
    """Return a wide figure with its heading and caption."""
    title = escape(plot.title)
    drawing = plot.svg.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
    return (
        f'<figure id="{plot.name}"><h2>{title}</h2>\n<div class="scroll">{drawing}'
        f"</div>\n<figcaption>{escape(plot.caption)}</figcaption></figure>"
    )


def number(value: float) -> str:
    """Return three figures, or a dash for an unknown value."""
    return f"{value:.3g}" if np.isfinite(value) else "–"


def percent(share: float, decimals: int = 1) -> str:
    """Return a share in percent."""
    return f"{100.0 * share:.{decimals}f} %"


def table(
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    note: str = "",
    names: int = 0,
) -> str:
    """Return a table; its last column is text, so many first ones are names.

    What stands in a cell may be a Link.
    """
    kinds = dict.fromkeys(range(names), " class=name") | {
        len(header) - 1: " class=text"
    }

    def cells(row: Sequence[object], tag: str) -> str:
        return "".join(
            f"<{tag}{kinds.get(k, '')}>{_shown(value)}</{tag}>"
            for k, value in enumerate(row)
        )

    lines = "\n".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return (
        f'<section class="table"><h3>{escape(title)}</h3>'
        f'<p class="soft">{escape(note)}</p><div class="scroll" tabindex="0"><table>'
        f"<thead><tr>{cells(header, 'th')}</tr></thead><tbody>\n{lines}\n</tbody>"
        "</table></div></section>"
    )


@dataclass(frozen=True)
class Link:
    """Words that lead to a file.

    Attributes
    ----------
    words : as they are read
    path : of the file, as seen from the page
    """

    words: str
    path: PurePath

    @property
    def html(self) -> str:
        """Return the element."""
        return f'<a href="{quote(self.path.as_posix())}">{escape(self.words)}</a>'


def _shown(value: object) -> str:
    return value.html if isinstance(value, Link) else escape(value)


def folded(title: str, text: str) -> str:
    """Return text that opens when it is asked for."""
    return (
        f"<details><summary>{escape(title)}</summary>"
        f"<pre>{escape(text)}</pre></details>"
    )
