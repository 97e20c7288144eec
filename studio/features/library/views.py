"""What “Library” shows as HTML: a card for each entry of the library, and what cannot be used.

A card is a ``<details>``, which the browser opens by itself; the server hears only of what changes
something (:data:`CHANGED`). Escaped as everything in :mod:`studio.page.views` is.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

from pipelines.core.messages import Message
from pipelines.core.sizes import format_bytes
from pipelines.diffusion.lora.families import title_of
from pipelines.diffusion.lora.record import SHARED
from pipelines.diffusion.lora.use import MAX_NAME
from pipelines.models.catalog import OWN
from studio.api.access import API
from studio.page import views

if TYPE_CHECKING:
    from pipelines.diffusion.lora.record import LoraRecord
    from studio.page.widgets import Visitor

_KINDS = {"lora": "LoRA", "embedding": "Learned word", "model": "Model"}
_DOWNLOADS = (
    ("diffusers", "Download for diffusers"),
    ("kohya", "Download for A1111, ComfyUI and kohya's tools"),
)
_SHOWN_TRIGGERS = 8
_HASH_DIGITS = 12  # as in the settings of pictures


def library_cards(
    records: Sequence[LoraRecord],
    refused: Sequence[Message],
    visitor: Visitor,
    *,
    opened: str | None = None,
    failure: str = "",
) -> str:
    """All cards: the visitor's own, then everybody's, then which files cannot be used.

    Args:
        records: in this order.
        refused: why files of everybody's cannot be used.
        opened: id of the card that shows all it has.
        failure: HTML that says what could not be done; inside the open card, else above all.
    """
    own = [record for record in records if record.owner != SHARED]
    shared = [record for record in records if record.owner == SHARED]
    inside = any(record.id == opened for record in records)
    parts = ["" if inside else failure]
    if not records:
        parts.append(
            views.empty_panel(
                "The library is empty",
                "Teach the studio something under “Teach”, or bring in a LoRA or a learned word "
                "that others have made. Each works in every prompt, by its name.",
                visitor,
            )
        )
    parts.append(_cards(own, visitor, opened, failure))
    if shared:
        title = escape(visitor.say("Everybody's"))
        parts.append(f'<h3 class="library-title">{title}</h3>')
        parts.append(_cards(shared, visitor, opened, failure))
    if refused:
        title = escape(visitor.say("These files in the folder loras cannot be used:"))
        reasons = "".join(f"<li>{escape(visitor.say(reason))}</li>" for reason in refused)
        parts.append(f'<div class="hint refusals">{title}<ul>{reasons}</ul></div>')
    return f'<div class="library-entries">{"".join(parts)}</div>'


def added_notice(record: LoraRecord, visitor: Visitor) -> str:
    """That a file is in the library now, and what it turned out to be."""
    words = [Message("{name} is in the library.", name=record.name), *_effect(record)]
    return views.notice(" ".join(visitor.say(word) for word in words), visitor)


def _cards(
    records: Sequence[LoraRecord], visitor: Visitor, opened: str | None, failure: str
) -> str:
    cells = "".join(
        _card(record, visitor, record.id == opened, failure if record.id == opened else "")
        for record in records
    )
    return f'<div class="entries">{cells}</div>' if cells else ""


def _card(record: LoraRecord, visitor: Visitor, opened: bool, failure: str) -> str:
    kind = escape(visitor.say(_KINDS[record.kind]))
    facts = " · ".join(f"<span>{escape(fact)}</span>" for fact in _facts(record, visitor))
    effect = "".join(f"<span>{escape(visitor.say(line))}</span>" for line in _effect(record))
    # Cards of one name close one another.
    return (
        f'<details class="entry" name="library-entry" data-id="{escape(record.id)}"'
        f"{' open' * opened}><summary>"
        f'<span class="line"><strong>{escape(record.name)}</strong>'
        f'<span class="badge">{kind}</span>{_triggers(record, visitor)}</span>'
        f'<span class="facts">{facts}</span><span class="effect">{effect}</span></summary>'
        f'<div class="body">{failure}{_body(record, visitor)}</div></details>'
    )


def _triggers(record: LoraRecord, visitor: Visitor) -> str:
    if not record.triggers:
        return ""
    title = escape(f"{visitor.say('Trigger words')}: {', '.join(record.triggers)}")
    words = "".join(f"<code>{escape(word)}</code>" for word in record.triggers[:_SHOWN_TRIGGERS])
    more = " …" if len(record.triggers) > _SHOWN_TRIGGERS else ""
    return f'<span class="triggers" title="{title}">{words}{more}</span>'


def _facts(record: LoraRecord, visitor: Visitor) -> Iterator[str]:
    if record.family:
        yield title_of(record.family)
    if record.rank and record.alpha is None:
        yield visitor.say(Message("rank {rank}", rank=record.rank))
    elif record.rank:
        words = Message("rank {rank}, alpha {alpha}", rank=record.rank, alpha=f"{record.alpha:g}")
        yield visitor.say(words)
    yield format_bytes(record.bytes)
    yield time.strftime("%Y-%m-%d", time.localtime(record.created))


def _effect(record: LoraRecord) -> Iterator[Message]:
    """What it does to a model, in sentences."""
    if record.kind == "lora":
        left_out = 0 if not record.unread else record.unread_modules
        if left_out is not None:
            matched = sum(record.modules.values())
            total = matched + left_out
            yield Message("{matched} of {total} modules matched.", matched=matched, total=total)
        count = {"unet": 0, "text_encoder": 0, **record.modules}
        template = "Changes {unet} of the U-Net's modules, {text_encoder} of the text encoder's."
        if "text_encoder_2" in count:
            template = (
                "Changes {unet} of the U-Net's modules, {text_encoder} and {text_encoder_2} of "
                "the two text encoders'."
            )
        yield Message(template, **count)
        if record.style == "peft" and record.alpha is None:
            yield Message(
                "The file does not say its alpha, so the scale is 1. A PEFT adapter has it in "
                "adapter_config.json: bring in the folder as a zip file."
            )
    if record.unread:
        yield Message(
            "{count} of the file's tensors have no meaning here and are left out.",
            count=record.unread,
        )


# --- an open card -------------------------------------------------------------------------------


def _body(record: LoraRecord, visitor: Visitor) -> str:
    parts = [_use(record, visitor), _ways_on(record, visitor), _origin(record, visitor)]
    if record.owner == SHARED:
        words = "It lies in the folder loras, for everybody. Rename or delete the file there."
        parts.append(views.summary([words], visitor))
    else:
        own = _rename_form(record, visitor) + _deletion(record, visitor)
        parts.append(f'<div class="own">{own}</div>')
    return "".join(parts)


def word_of(record: LoraRecord) -> str:
    """What a learned word is called in prompts."""
    return next(iter(record.triggers), record.name)


def _use(record: LoraRecord, visitor: Visitor) -> str:
    """How a prompt or a form names it."""
    if record.kind == "model":
        words = "It is among the models in “Text to image”."
        return f'<div class="tag">{escape(visitor.say(words))}</div>'
    words: Message | str = "Write this into a prompt:"
    if record.kind == "embedding":
        words = Message(
            "Write {word} where it belongs, and this anywhere in the prompt:", word=word_of(record)
        )
    tag = escape(f"<lora:{record.name}:1>")
    copy, copied = escape(visitor.say("Copy")), escape(visitor.say("Copied"))
    return (
        f'<div class="tag"><span>{escape(visitor.say(words))}</span> <code>{tag}</code>'
        f'<button type="button" class="copy" data-copied="{copied}">{copy}</button></div>'
    )


def _ways_on(record: LoraRecord, visitor: Visitor) -> str:
    paint = escape(visitor.say("Paint with it"))
    links = [f'<button type="button" class="use">{paint}</button>']
    for style, words in _DOWNLOADS if record.kind != "model" else ():
        address = escape(f"{API}/loras/{record.id}/{style}.safetensors".lstrip("/"))
        links.append(f'<a href="{address}" download>{escape(visitor.say(words))}</a>')
    return f'<div class="ways">{"".join(links)}</div>'


def _origin(record: LoraRecord, visitor: Visitor) -> str:
    facts = []
    if record.base and not record.base.startswith(OWN):  # an id says nothing to people
        facts.append(("Trained on", record.base))
    if record.sha256:
        facts.append(("Hash", record.sha256[:_HASH_DIGITS]))
    cells = "".join(
        f"<div><dt>{escape(visitor.say(name))}</dt><dd>{escape(value)}</dd></div>"
        for name, value in facts
    )
    return f'<dl class="numbers">{cells}</dl>' if cells else ""


def _rename_form(record: LoraRecord, visitor: Visitor) -> str:
    title, words = escape(visitor.say("New name")), escape(visitor.say("Rename"))
    return (
        f'<form class="renaming"><input name="name" value="{escape(record.name)}" required '
        f'maxlength="{MAX_NAME}" autocomplete="off" aria-label="{title}">'
        f'<button type="submit">{words}</button></form>'
    )


def _deletion(record: LoraRecord, visitor: Visitor) -> str:
    """A button, and behind it the one that means it."""
    ask = Message("Delete {name} for good? Pictures that it has helped to paint stay.",
                  name=record.name)  # fmt: skip
    words, really, keep = (
        escape(visitor.say(text)) for text in ("Delete", "Delete for good", "Keep")
    )
    return (
        f'<details class="deletion"><summary>{words}</summary><div class="confirm">'
        f"<p>{escape(visitor.say(ask))}</p>"
        f'<div class="ways"><button type="button" class="remove">{really}</button>'
        f'<button type="button" class="keep">{keep}</button></div></div></details>'
    )


# The clipboard belongs to secure pages only; elsewhere the tag is selected and copied the old way.
CHANGED = """
const id = part => part.closest('.entry').dataset.id;

async function copy(button) {
  const code = button.parentElement.querySelector('code');
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(code.textContent);
  } else {
    getSelection().selectAllChildren(code);
    document.execCommand('copy');
  }
  const words = button.textContent;
  if (words === button.dataset.copied) return;
  button.textContent = button.dataset.copied;
  setTimeout(() => { button.textContent = words; }, 1500);
}

element.addEventListener('click', event => {
  const button = event.target.closest('button');
  if (!button) return;
  if (button.matches('.copy')) copy(button);
  if (button.matches('.keep')) button.closest('.deletion').open = false;
  if (button.matches('.use')) trigger('use', {id: id(button)});
  if (button.matches('.remove')) {
    button.disabled = true;
    trigger('remove', {id: id(button)});
  }
});

element.addEventListener('submit', event => {
  event.preventDefault();
  trigger('rename', {id: id(event.target), name: event.target.elements.name.value});
});
"""
