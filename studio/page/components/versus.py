"""Two pictures over one another, with a slider between them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from pipelines.core.messages import Message
from studio.page.widgets import Visitor


def versus(
    picture: str,
    others: Sequence[str],
    visitor: Visitor,
    alt: str,
    slider: str,
    fit: str = "fill",
    sides: Sequence[float] = (0, 0, 0, 0),
) -> str:
    """A picture over others, with a slider between them.

    The slider and the buttons of further ones are read by :data:`VERSUS_MOVED`.

    Args:
        picture: id of a picture of the gallery.
        others: addresses, below the page's.
        alt: what the others are, in English.
        slider: what lies between, in English.
        fit: how others of other proportions are shown, as CSS has it.
        sides: how far the others end within the picture: left, top, right, bottom, each as a share
            of the picture's width.
    """
    sources = [escape(other) for other in others]
    numbers = "".join(
        f'<button type="button" data-map="{source}" aria-pressed="{str(not n).lower()}">'
        f"{escape(visitor.say(Message('Map {number}', number=n + 1)))}</button>"
        for n, source in enumerate(sources)
    )
    more = f'<div class="button-row maps">{numbers}</div>' if len(sources) > 1 else ""
    left, top, right, bottom = (f"{100 * side:.3f}%" for side in sides)
    room = f"{top} {right} {bottom} {left}"
    return (
        f'<div class="versus"><div class="both"><img src="pictures/{escape(picture)}.png" alt="">'
        f'<img class="map" src="{sources[0]}" alt="{escape(visitor.say(alt))}" '
        f'style="object-fit: {fit}; padding: {room}"><i></i>'
        '<input type="range" min="0" max="100" value="50" '
        f'step="0.5" aria-label="{escape(visitor.say(slider))}">'
        f"</div>{more}</div>"
    )


VERSUS_MOVED = """
element.addEventListener('input', event => {
  const both = event.target.closest('.versus .both');
  if (both) both.style.setProperty('--at', event.target.value + '%');
});
element.addEventListener('click', event => {
  const chosen = event.target.closest('[data-map]');
  if (!chosen) return;
  const versus = chosen.closest('.versus');
  versus.querySelector('.map').src = chosen.dataset.map;
  for (const each of versus.querySelectorAll('[data-map]'))
    each.setAttribute('aria-pressed', String(each === chosen));
});
"""
