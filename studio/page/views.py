"""What the page shows of jobs and pictures, as HTML.

Whatever people wrote goes through :func:`html.escape`; ids come from the database and are safe
characters only, and are escaped all the same. Addresses are relative, so that the page also works
below a path of a proxy.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from gradio.i18n import I18nData
from PIL import Image

from pipelines.core.errors import UserError
from pipelines.core.messages import Message
from pipelines.core.sizes import duration, format_bytes
from pipelines.models.catalog import ModelEntry
from studio.core.jobs.record import QUEUED
from studio.core.palette import CLAY
from studio.page.widgets import Visitor

if TYPE_CHECKING:
    from studio.core.gallery.gallery import SavedPicture
    from studio.core.jobs.queue import Jobs
    from studio.core.jobs.record import Job

PREVIEW_SIDE = 256  # pixels; more would not be seen in a picture that is still noise
_SHOWN_WORDS = 8  # of those never seen
_LONG = 60  # characters of a fact that gets a line of its own
_FEW = 4  # pictures shown large
_SPOKEN = 80  # characters of a prompt by which its picture is called


@dataclass(frozen=True, slots=True)
class Progressing:
    """A job that is not finished, as the panel shows it.

    Attributes:
        state: ``queued`` or ``running``.
        position: place in the queue, 1 is next.
        wait: seconds until its turn, None while they cannot be told.
        seconds_left: until its end, None while they cannot be told.
        preview: a ``data:`` URI, or None.
        part: which of several pictures it is at, from 1 on, and of how many.
        words: what is said of the step instead of the two numbers.
    """

    state: str
    step: int = 0
    total: int = 0
    note: Message | None = None
    position: int | None = None
    wait: float | None = None
    seconds_left: float | None = None
    preview: str | None = None
    part: tuple[int, int] | None = None
    words: Message | None = None

    @classmethod
    def of(cls, jobs: Jobs, job: Job) -> Progressing:
        """How far ``job`` is; the preview is the owner's to ask for."""
        return cls(
            state=job.state,
            step=job.step,
            total=job.total,
            note=job.note,
            position=jobs.position(job.id),
            wait=jobs.wait(job.id) if job.state == QUEUED else None,
            seconds_left=jobs.seconds_left(job.id) or None,  # at 0 the last touches remain
            part=jobs.part(job.id),
            words=jobs.words(job.id),
        )


# --- the page as a whole ------------------------------------------------------------------------

_MARK = (
    '<svg viewBox="0 0 32 32" aria-hidden="true"><rect x="1" y="1" width="30" height="30" rx="8" '
    f'fill="{CLAY["c600"]}"/><circle cx="12.5" cy="19" r="6.5" fill="{CLAY["c100"]}"/>'
    f'<path d="M20 8l6 15H14z" fill="{CLAY["c950"]}" fill-opacity=".55"/></svg>'
)


BRAND = f'<h1 class="atelier-brand">{_MARK}Atelier</h1>'


def header(facts: Sequence[tuple[str, str]], visitor: Visitor, name: str | None) -> str:
    """The brand and the facts about the machine.

    Args:
        facts: label (a key of the tables of texts) and value.
        visitor: who reads it.
        name: of a person who has logged in and can log out, or None.
    """
    shown = "".join(
        f"<span>{escape(visitor.say(title))} <b>{escape(value)}</b></span>"
        for title, value in facts
    )
    if name is not None:
        out = escape(visitor.say("Log out"))
        shown += (
            f'<span><b>{escape(name)}</b> · <form method="post" action="logout">'
            f"<button>{out}</button></form></span>"
        )
    facts_shown = f'<div class="atelier-facts">{shown}</div>'
    return f'<div class="atelier-header">{BRAND}{facts_shown}</div>'


def empty(title: str, words: str, visitor: Visitor) -> str:
    """An empty place that says what to do."""
    return (
        f'<div class="empty-state"><strong>{escape(visitor.say(title))}</strong>'
        f"<p>{escape(visitor.say(words))}</p></div>"
    )


def refusal(act: Callable[[], object], visitor: Visitor) -> str:
    """Does it; why it was refused, as HTML, or nothing when it was done."""
    try:
        act()
    except UserError as found:
        return error(found.message, visitor)
    return ""


def error(sentence: Message | str, visitor: Visitor) -> str:
    return f'<div class="error" role="alert">{escape(visitor.say(sentence))}</div>'


def again(visitor: Visitor) -> str:
    """A button that sends a job's request once more; its click is read by :data:`AGAIN_CLICKED`."""
    words = escape(visitor.say("Try again"))
    return f'<div class="button-row"><button type="button" class="again">{words}</button></div>'


AGAIN_CLICKED = """
element.addEventListener('click', event => {
  const again = event.target.closest('.again');
  if (!again) return;
  again.disabled = true;
  trigger('again');
});
"""


def notice(sentence: Message | str, visitor: Visitor) -> str:
    return f'<div class="hint" role="status">{escape(visitor.say(sentence))}</div>'


def example_buttons(examples: Iterable[str], surprise: I18nData) -> str:
    """Buttons with prompts to start from, and one that makes a prompt up.

    The label stays for the browser to translate, so this can stand in the page from the start.
    """
    buttons = "".join(
        f'<button type="button" data-text="{escape(text)}">{escape(text)}</button>'
        for text in examples
    )
    first = f'<button type="button" class="surprise">{surprise}</button>'
    return f'<div class="button-row">{first}{buttons}</div>'


def unknown_words(words: Sequence[str], visitor: Visitor) -> str:
    shown = ", ".join(words[:_SHOWN_WORDS]) + (" …" if len(words) > _SHOWN_WORDS else "")
    return notice(
        Message(
            "The starter model has never seen: {words}. It paints toys, such as a mug, a robot, "
            "a duck or a castle, in plain colours and places. Larger models know more words.",
            words=shown,
        ),
        visitor,
    )


def about_model(entry: ModelEntry, visitor: Visitor) -> str:
    """One line: what the model is, its licence and what it costs."""
    facts = [visitor.say(entry.description)] if entry.description else []
    licence = Message("Licence: {licence}.", licence=visitor.say(entry.licence))
    facts.append(visitor.say(licence))
    if entry.download_bytes:
        size = format_bytes(entry.download_bytes)
        facts.append(visitor.say(Message("The first use downloads {size}.", size=size)))
    if not entry.negative_prompt_used:
        facts.append(visitor.say("It takes no negative prompt."))
    return f'<div class="about-model">{escape(" ".join(facts))}</div>'


# --- jobs ---------------------------------------------------------------------------------------


def result_panel(
    visitor: Visitor,
    *,
    progress: Progressing | None = None,
    pictures: Mapping[str, str] | None = None,
    sheet: str | None = None,
    caption: Message | None = None,
    chosen: str | None = None,
    beside: str = "",
    summary: str = "",
    failure: str = "",
    finished: Message | None = None,
) -> str:
    """The results' side: progress, preview, error and pictures of one job.

    Args:
        visitor: who looks.
        progress: of a job that is not finished.
        pictures: ids in the order of painting, and what each is called (:func:`picture_names`).
        sheet: id of the picture of the whole run.
        caption: what is to be seen on it.
        chosen: id of the picture whose settings are shown.
        beside: HTML that shows the chosen picture large, beside what it was made of.
        summary, failure: HTML from :func:`summary`, :func:`error` and :func:`again`.
        finished: said to those who cannot see that the job has ended.
    """
    parts = [failure]
    if progress is not None:
        if progress.preview:
            alt = escape(visitor.say("The picture so far"))
            parts.append(f'<div class="preview"><img src="{progress.preview}" alt="{alt}"></div>')
        parts.append(progress_bar(progress, visitor))
    if sheet is not None:
        parts.append(_sheet(sheet, caption, visitor))
    parts.append(beside)
    if pictures and not (beside and len(pictures) == 1):
        large = sheet is None and not beside
        parts.append(thumbnails(pictures, chosen, visitor, large=large))
    if finished is not None:
        parts.append(f'<p class="announced" hidden>{escape(visitor.say(finished))}</p>')
    parts.append(summary)
    return f'<div class="result-panel">{"".join(parts)}</div>'


def _sheet(id: str, caption: Message | None, visitor: Visitor) -> str:
    alt = escape(visitor.say(caption or "All pictures on one sheet"))
    source = f"pictures/{escape(id)}.png"
    below = f"<figcaption>{alt}</figcaption>" if caption is not None else ""
    return (
        f'<figure class="sheet"><a href="{source}" target="_blank" rel="noopener">'
        f'<img src="{source}" alt="{alt}"></a>{below}</figure>'
    )


def empty_panel(title: str, words: str, visitor: Visitor) -> str:
    text = f"<strong>{escape(visitor.say(title))}</strong><p>{escape(visitor.say(words))}</p>"
    return f'<div class="result-panel empty"><div>{text}</div></div>'


def progress_bar(progress: Progressing, visitor: Visitor) -> str:
    """How far a job is that is not finished, as a bar and in words."""
    if progress.state == "queued":
        words = [_place(progress.position)]
    elif progress.note is not None:
        words = [progress.note]
    elif progress.step == 0:
        words = [Message("Starting …")]
    elif progress.words is not None:
        words = [progress.words]
    else:
        words = [Message("Step {step} of {total}", step=progress.step, total=progress.total)]
    if progress.part is not None:
        number, count = progress.part
        words.insert(0, Message("Picture {number} of {count}", number=number, count=count))
    if progress.wait is not None:
        words.append(Message("about {time}", time=duration(_roughly(progress.wait))))
    if progress.seconds_left is not None:
        words.append(Message("{time} left", time=duration(progress.seconds_left)))
    share = 100 * progress.step / progress.total if progress.total else 0
    waiting = "" if progress.total and progress.state == "running" else " waiting"
    sentences = [escape(visitor.say(word)) for word in words]
    shown = "".join(f"<span>{sentence}</span>" for sentence in sentences)
    known = "" if waiting else f'aria-valuenow="{share:.0f}" '
    return (
        f'<div class="progress" role="progressbar" aria-label="{escape(visitor.say("Progress"))}" '
        f'aria-valuemin="0" aria-valuemax="100" {known}aria-valuetext="{", ".join(sentences)}">'
        f'<div class="bar{waiting}">'
        f'<span style="width:{share:.1f}%"></span></div><div class="words">{shown}</div></div>'
    )


def _place(position: int | None) -> Message:
    if position is None or position <= 1:
        return Message("Waiting for its turn: next in the queue")
    return Message("Waiting for its turn: place {position} in the queue", position=position)


def _roughly(seconds: float) -> float:
    """An estimate, no finer than one is: so it does not change with every look."""
    step = 5 if seconds < 60 else 30 if seconds < 600 else 60
    return max(step, step * round(seconds / step))


def percent(share: float) -> str:
    """``0.3412`` as ``34.1 %``; what is there is never shown as 0."""
    if share >= 0.9995:
        return "100 %"
    if share >= 0.0005:
        return f"{100 * share:.1f} %"
    return "< 0.1 %" if share > 0 else "0 %"


def summary(messages: Iterable[Message | str], visitor: Visitor) -> str:
    """One quiet line below the pictures."""
    text = " ".join(visitor.say(message) for message in messages)
    return f'<div class="summary">{escape(text)}</div>' if text else ""


def preview_uri(image: Image.Image, side: int = PREVIEW_SIDE) -> str:
    """A preview of at most ``side`` pixels a side as a ``data:`` URI of a few kB."""
    small = image.convert("RGB")
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, format="WEBP", quality=75, method=0)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


# --- pictures -----------------------------------------------------------------------------------


def picture_names(rows: Sequence[SavedPicture], visitor: Visitor) -> dict[str, str]:
    """Ids of pictures → what each is called where it cannot be seen, in their order."""
    return {
        row.id: visitor.say(
            Message("Picture {number}: {prompt}", number=n, prompt=_first_words(row))
        )
        for n, row in enumerate(rows, 1)
    }


def _first_words(row: SavedPicture) -> str:
    prompt = str(row.request.get("prompt") or row.parameters.partition("\n")[0])
    return prompt if len(prompt) <= _SPOKEN else prompt[: _SPOKEN - 1].rstrip() + "…"


def thumbnails(
    pictures: Mapping[str, str], chosen: str | None, visitor: Visitor, large: bool = False
) -> str:
    """Pictures to choose from; the clicks are read by :data:`PICTURE_CLICKED`.

    Args:
        pictures: ids and names (:func:`picture_names`).
        chosen: the one that is marked.
        visitor: who looks.
        large: show few pictures at full size instead of as thumbnails.
    """
    form = "one" if len(pictures) == 1 else "few" if len(pictures) <= _FEW else ""
    full = large and bool(form)
    cells = "".join(
        _picture(id, name, id == chosen, full, visitor) for id, name in pictures.items()
    )
    return f'<div class="pictures {form if full else "gallery"}">{cells}</div>'


def _picture(id: str, name: str, chosen: bool, full: bool, visitor: Visitor) -> str:
    source = f"pictures/{escape(id)}.png" if full else f"thumbnails/{escape(id)}.webp"
    title = escape(visitor.say("Show the settings of this picture"))
    return (
        f'<button type="button" class="picture{" chosen" if chosen else ""}" '
        f'data-id="{escape(id)}" aria-pressed="{str(chosen).lower()}" title="{title}">'
        f'<img src="{source}" alt="{escape(name)}" loading="lazy"></button>'
    )


# Of every panel: what ends on it is said to those who cannot see it.
ANNOUNCED = "watch('value', () => atelier.announce(element, props.value || ''));\n"

PICTURE_CLICKED = """
element.addEventListener('click', event => {
  const picture = event.target.closest('[data-id]');
  if (picture) trigger('pick', {id: picture.dataset.id});
});
"""


def details(
    parameters: Mapping[str, Any],
    visitor: Visitor,
    *,
    id: str | None = None,
    large: bool = False,
    unused: Collection[str] = (),
    notes: Iterable[Message] = (),
) -> str:
    """The settings of a picture, and how to have it.

    Args:
        parameters: as :func:`studio.core.gallery.metadata.parse_parameters` gives them.
        visitor: who reads them.
        id: of a picture of the gallery; None for a file that was dropped.
        large: show the picture as well.
        unused: names of settings that cannot be used here; they are struck out.
        notes: what else is to be said of them.
    """
    parts = []
    if id is not None and large:
        source = f"pictures/{escape(id)}.png"
        larger = escape(visitor.say("The picture in full size"))
        parts.append(f'<a href="{source}" target="_blank" rel="noopener">'
                     f'<img src="{source}" alt="{larger}"></a>')  # fmt: skip
    parts.append(f'<div class="prompt">{escape(str(parameters.get("prompt", "")))}</div>')
    if negative := parameters.get("negative_prompt"):
        name = escape(visitor.say("Negative prompt"))
        parts.append(f'<dl><div class="wide"><dt>{name}</dt>'
                     f"<dd>{escape(str(negative))}</dd></div></dl>")  # fmt: skip
    facts = "".join(
        f"<div{' class=wide' * (len(str(value)) > _LONG)}><dt>{escape(visitor.say(name))}</dt>"
        f"<dd>{_strike(value) if name in unused else escape(str(value))}</dd></div>"
        for name, value in parameters.items()
        if name not in ("prompt", "negative_prompt")
    )
    parts.append(f"<dl>{facts}</dl>" if facts else "")
    if unused:
        text = visitor.say("What is struck out cannot be used here and will be left out.")
        parts.append(f'<div class="note">{escape(text)}</div>')
    parts += [f'<div class="note">{escape(visitor.say(note))}</div>' for note in notes]
    if id is not None:
        text = escape(visitor.say("Download PNG"))
        parts.append(f'<div><a href="pictures/{escape(id)}.png" '
                     f'download="{escape(id)}.png">{text}</a></div>')  # fmt: skip
    return f'<div class="details">{"".join(parts)}</div>'


def _strike(value: Any) -> str:
    return f"<s>{escape(str(value))}</s>"
