"""What the page shows of the gallery: pictures under the days on which they were made, as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING

from studio.page import views
from studio.page.widgets import Visitor

if TYPE_CHECKING:
    from studio.core.gallery.gallery import SavedPicture, Span


def grid(
    rows: Sequence[SavedPicture],
    chosen: str | None,
    visitor: Visitor,
    text: str,
    span: Span | None,
) -> str:
    """Pictures that were found, newest first; ``assets/gallery.js`` reads what stands beside them.

    Args:
        rows: of the pictures.
        chosen: id of the one that is marked.
        visitor: who looks.
        text: what was searched for.
        span: of all pictures of the visitor's.
    """
    names = views.picture_names(rows, visitor)
    parts = []
    for day, group in groupby(rows, lambda row: date.fromtimestamp(row.created)):
        pictures = {row.id: names[row.id] for row in group}
        parts.append(f'<h2 class="day"><time datetime="{day}">{day}</time></h2>')
        parts.append(views.thumbnails(pictures, chosen, visitor))
    days = ""
    if span is not None:
        oldest, newest = date.fromtimestamp(span.oldest), date.fromtimestamp(span.newest)
        days = f' data-oldest="{oldest}" data-newest="{newest}"'
    return f'<div class="found" data-search="{escape(text)}"{days}>{"".join(parts)}</div>'


def day_of(text: str) -> date | None:
    """The day that a browser names, ``2026-11-30``; None for anything else."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
