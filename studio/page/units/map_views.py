"""What the page shows of control models and of the maps that pictures follow, as HTML.

As in :mod:`studio.page.views`, all text is escaped and addresses are relative.
"""

from __future__ import annotations

from html import escape

from gradio.i18n import I18nData
from PIL import Image

from pipelines.core.messages import Message
from pipelines.core.sizes import format_bytes
from pipelines.diffusion.control.catalog import ControlEntry
from pipelines.models.catalog import ModelEntry
from studio.page import views
from studio.page.widgets import Visitor

MAP_SIDE = 448  # pixels; twice what is shown, so that thin lines stay lines


def about_control(
    entry: ControlEntry | None, base: ModelEntry, visitor: Visitor, remark: Message | None
) -> str:
    """What a control model is, its licence and cost; or that none fits the base model."""
    if entry is None:
        none = Message(
            "No control model fits {model} yet. Choose another base model, or put a ControlNet or "
            "T2I-Adapter for it into the folder control/ of the home folder.",
            model=base.title,
        )
        return views.notice(none, visitor)
    facts = [visitor.say(Message("Licence: {licence}.", licence=visitor.say(entry.licence)))]
    if entry.download_bytes:
        size = format_bytes(entry.download_bytes)
        facts.append(visitor.say(Message("The first use downloads {size}.", size=size)))
    about = f'<div class="about-model">{escape(" ".join(facts))}</div>'
    return about + (views.notice(remark, visitor) if remark is not None else "")


def no_map(words: I18nData | str) -> str:
    """The place of a map; a label stays for the browser to translate."""
    return f'<div class="condition nothing">{words}</div>'


def condition(made: Image.Image, visitor: Visitor) -> str:
    """A map as it will be followed."""
    alt = escape(visitor.say("The map that will be followed"))
    caption = f"{made.width} × {made.height}"
    source = views.preview_uri(made, MAP_SIDE)
    return (
        f'<figure class="condition"><img src="{source}" alt="{alt}" title="{alt}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )
