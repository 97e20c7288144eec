"""What the tab “Teach” shows as HTML: photos and their crops, how a training goes, what it painted.

Escaped as everything in :mod:`studio.page.views` is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from pipelines.core.messages import Message
from pipelines.core.sizes import format_bytes
from pipelines.dreambooth.data.captions import kind_of
from pipelines.dreambooth.preflight import FEW_PHOTOS, Preflight
from studio.api.access import API
from studio.page import views

if TYPE_CHECKING:
    from pipelines.dreambooth.data.subjects import Photo, Subject
    from studio.features.training.subjects import Made, Outcome
    from studio.page.widgets import Visitor

MANY_PHOTOS = 30
_SHOWN_REFUSALS = 8
_WIDTH, _HEIGHT, _MARGIN = 640, 220, 46  # of the loss curve's drawing
_POINTS = 400  # of a curve; more cannot be told apart
_SMOOTHING = 0.94  # how much of the running mean stays with every step

# --- photos ---------------------------------------------------------------------------------------


def photos(subject: Subject | None, chosen: str | None, visitor: Visitor) -> str:
    """The grid of what was taken, as it will be cropped."""
    if subject is None or not subject.photos:
        return views.empty(
            "No photos yet",
            "Drop five to thirty photos of one thing, taken from several sides and in several "
            "places; captions beside them (cat.txt for cat.jpg) come along. Or begin with the "
            "example photos.",
            visitor,
        )
    cells = "".join(_photo(subject, photo, photo.id == chosen, visitor) for photo in subject.photos)
    count = len(subject.photos)
    words = [Message("{count} photos.", count=count)]
    if count < FEW_PHOTOS:
        words.append(Message("Five to thirty are best."))
    elif count > MANY_PHOTOS:
        words.append(Message("More than thirty seldom help. Keep the best."))
    words.append(Message("Click one to see it whole, to move its crop or to write its caption."))
    return f'<div class="photos">{cells}</div>{views.summary(words, visitor)}'


def _photo(subject: Subject, photo: Photo, chosen: bool, visitor: Visitor) -> str:
    remarks = " ".join(visitor.say(remark) for remark in subject.remarks(photo))
    title = escape(f"{photo.name}. {remarks}".strip())
    mark = f'<span class="mark" title="{escape(remarks)}">!</span>' if remarks else ""
    return (
        f'<button type="button" class="picture{" chosen" if chosen else ""}" '
        f'data-id="{escape(photo.id)}" aria-pressed="{str(chosen).lower()}" title="{title}">'
        f'<img src="{_crop_address(subject, photo)}" alt="{title}" loading="lazy">{mark}</button>'
    )


def _crop_address(subject: Subject, photo: Photo) -> str:
    x, y = photo.focus
    address = f"{API}/subjects/{subject.id}/photos/{photo.id}/crop.webp?focus={x:g},{y:g}"
    return escape(address.lstrip("/"))


def whole_photo(subject: Subject, photo: Photo, visitor: Visitor) -> str:
    """A photo with a frame around what will be learnt; clicks are read by :data:`FOCUS_SET`."""
    left, top, right, bottom = photo.crop()
    frame = (
        f"left:{100 * left / photo.width:.2f}%;top:{100 * top / photo.height:.2f}%;"
        f"width:{100 * (right - left) / photo.width:.2f}%;"
        f"height:{100 * (bottom - top) / photo.height:.2f}%"
    )
    source = escape(f"{API}/subjects/{subject.id}/photos/{photo.id}.png".lstrip("/"))
    hint = escape(visitor.say("Click where the crop should have its middle."))
    remarks = "".join(views.notice(remark, visitor) for remark in subject.remarks(photo))
    return (
        f'<div class="whole-photo"><div class="framed" data-photo="{escape(photo.id)}" '
        f'title="{hint}"><img src="{source}" alt="{escape(photo.name)}" draggable="false">'
        f'<i style="{frame}"></i></div>'
        f'<div class="summary">{escape(photo.name)} · {photo.width} × {photo.height}. {hint}</div>'
        f"{remarks}</div>"
    )


# Where in the photo was clicked, as fractions from the top left.
FOCUS_SET = """
element.addEventListener('click', event => {
  const framed = event.target.closest('.framed');
  if (!framed) return;
  const box = framed.getBoundingClientRect();
  const at = (value, size) => Math.min(1, Math.max(0, value / size));
  trigger('pick', {
    id: framed.dataset.photo,
    x: at(event.clientX - box.left, box.width),
    y: at(event.clientY - box.top, box.height),
  });
});
"""


def outcomes(found: Sequence[Outcome], visitor: Visitor) -> str:
    """What became of the files that were sent: how many were taken, and why others were not."""
    if not found:
        return ""
    refused = [outcome for outcome in found if outcome.refusal is not None]
    photos = [outcome for outcome in found if outcome.photo is not None]
    missed = sum(kind_of(outcome.name) == "photo" for outcome in refused)  # captions are none
    said = [outcome for outcome in found if outcome.note is not None and outcome.photo is None]
    taken = Message("{count} of {total} photos were taken.",
                    count=len(photos), total=len(photos) + missed)  # fmt: skip
    sentences = [visitor.say(taken)]
    if captions := sum(outcome.note is not None for outcome in photos):
        note = Message("Captions taken over from beside them: {count}.", count=captions)
        sentences.append(visitor.say(note))
    lines = "".join(
        f"<li><b>{escape(outcome.name)}</b> {escape(visitor.say(outcome.refusal))}</li>"
        for outcome in refused[:_SHOWN_REFUSALS]
        if outcome.refusal is not None
    )
    if more := len(refused) - _SHOWN_REFUSALS:
        rest = visitor.say(Message("{count} more were not taken.", count=more)) if more > 0 else ""
        lines += f"<li>{escape(rest)}</li>" if rest else ""
    lines += "".join(
        f"<li><b>{escape(outcome.name)}</b> {escape(visitor.say(outcome.note))}</li>"
        for outcome in said[:_SHOWN_REFUSALS]
        if outcome.note is not None
    )
    shown = f"<ul>{lines}</ul>" if lines else ""
    return f'<div class="hint refusals" role="status">{escape(" ".join(sentences))}{shown}</div>'


def deletion_question(subject: Subject, found: Made, visitor: Visitor) -> str:
    """What is deleted together with the photos."""
    words = [Message("Delete {name} and its {count} photos for good?",
                     name=subject.name, count=len(subject.photos))]  # fmt: skip
    if found.trainings or found.loras or found.pictures:
        words.append(
            Message(
                "With them go {trainings} trainings, {loras} LoRAs ({names}) and {pictures} "
                "pictures that were painted with them.",
                trainings=len(found.trainings),
                loras=len(found.loras),
                names=", ".join(found.loras.values()) or "–",
                pictures=len(found.pictures),
            )
        )
    return views.summary(words, visitor)


# --- before it starts -----------------------------------------------------------------------------


def preflight_summary(found: Preflight, visitor: Visitor) -> str:
    """Steps, time and memory that a training will take."""
    template = (
        Message("{steps} steps, about {time} (as the last ones like it took), {memory} of memory.",
                steps=found.steps, time=views.duration(found.seconds),
                memory=format_bytes(found.bytes))
        if found.measured
        else Message("{steps} steps, roughly {time}, about {memory} of memory.",
                     steps=found.steps, time=views.duration(found.seconds),
                     memory=format_bytes(found.bytes))
    )  # fmt: skip
    words = [template]
    if found.class_pictures:
        words.append(
            Message("First {count} pictures of the class are painted.", count=found.class_pictures)
        )
    return views.summary([*words, *found.notes], visitor)


# --- while it runs --------------------------------------------------------------------------------


@dataclass(slots=True)
class Learning:
    """What a trainer has reported so far.

    Attributes:
        steps: step → its line, in order.
        samples: lines of sample pictures, in order.
        saved: the last step with a checkpoint, 0 for none.
    """

    steps: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    samples: list[Mapping[str, Any]] = field(default_factory=list)
    saved: int = 0

    def hear(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Takes in further lines of the progress."""
        for line in lines:
            if line["event"] == "step":
                self.steps[line["step"]] = line
            elif line["event"] == "sample":
                self.samples.append(line)
            elif line["event"] == "checkpoint":
                self.saved = line["step"]

    @property
    def last(self) -> Mapping[str, Any]:
        return next(reversed(self.steps.values()), {})


def learning_view(found: Learning, training: str, total: int, visitor: Visitor) -> str:
    """Loss curve, numbers and sample pictures of a training."""
    parts = [_numbers(found, visitor), loss_curve(found, total, visitor)]
    parts.append(samples(found.samples, training, visitor))
    return f'<div class="learning">{"".join(parts)}</div>'


def _numbers(found: Learning, visitor: Visitor) -> str:
    last = found.last
    facts = []
    if "loss" in last:
        facts.append(("Loss", f"{_smooth(_losses(found))[-1][1]:.4f}"))
    if "rate" in last:
        facts.append(("Learning rate", f"{last['rate']:.2e}"))
    if last.get("memory"):
        facts.append(("Memory", format_bytes(int(last["memory"]))))
    if found.saved:
        facts.append(("Last checkpoint", f"{found.saved}"))
    cells = "".join(
        f"<div><dt>{escape(visitor.say(name))}</dt><dd>{escape(value)}</dd></div>"
        for name, value in facts
    )
    return f'<dl class="numbers">{cells}</dl>' if cells else ""


def loss_curve(found: Learning, total: int, visitor: Visitor) -> str:
    """The loss of every step, thin, and its running mean, thick, as SVG; empty before the second.

    The scale leaves the highest hundredth out: single bad batches would flatten all the rest.
    """
    raw = _losses(found)
    if len(raw) < 2:
        return ""
    smooth = _smooth(raw)
    values = sorted(value for _, value in raw)
    top = max(values[int(0.99 * (len(values) - 1))], max(value for _, value in smooth)) * 1.05
    low = min(min(values), *(value for _, value in smooth)) * 0.9
    first, last = raw[0][0], max(total, raw[-1][0])

    def line(points: Sequence[tuple[int, float]]) -> str:
        stride = max(1, len(points) // _POINTS)
        kept = [*points[:-1:stride], points[-1]]
        return " ".join(f"{_x(step, first, last):.1f},{_y(min(value, top), low, top):.1f}"
                        for step, value in kept)  # fmt: skip

    labels = "".join(
        f'<text x="{_MARGIN - 6}" y="{_y(value, low, top) + 4:.1f}" text-anchor="end">'
        f"{value:.3g}</text>"
        for value in (low, (low + top) / 2, top)
    )
    ends = (
        f'<text x="{_MARGIN}" y="{_HEIGHT - 6}">{first}</text>'
        f'<text x="{_WIDTH - 4}" y="{_HEIGHT - 6}" text-anchor="end">{last}</text>'
    )
    title = escape(visitor.say("Loss: thin of every step, thick smoothed"))
    return (
        f'<figure class="curve"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{title}"><g class="axis">{labels}{ends}</g>'
        f'<polyline class="raw" points="{line(raw)}"/>'
        f'<polyline class="smooth" points="{line(smooth)}"/></svg>'
        f"<figcaption>{title}</figcaption></figure>"
    )


def _x(step: int, first: int, last: int) -> float:
    return _MARGIN + (step - first) / max(1, last - first) * (_WIDTH - _MARGIN - 4)


def _y(value: float, low: float, top: float) -> float:
    return 8 + (top - value) / max(1e-9, top - low) * (_HEIGHT - 32)


def _losses(found: Learning) -> list[tuple[int, float]]:
    return [(step, line["loss"]) for step, line in found.steps.items() if "loss" in line]


def _smooth(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """The exponential running mean, without its early pull towards zero."""
    mean, weight, smooth = 0.0, 0.0, []
    for step, value in points:
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * value
        weight = _SMOOTHING * weight + (1 - _SMOOTHING)
        smooth.append((step, mean / weight))
    return smooth


def samples(found: Sequence[Mapping[str, Any]], training: str, visitor: Visitor) -> str:
    """The sample pictures: a row for each prompt, from the first step to the last."""
    if not found:
        return ""
    rows: dict[str, list[str]] = {}
    for line in found:
        source = escape(f"{API}/trainings/{training}/samples/{line['file']}".lstrip("/"))
        step = escape(visitor.say(Message("Step {step}", step=line["step"])))
        rows.setdefault(str(line["prompt"]), []).append(
            f'<figure><a href="{source}" target="_blank" rel="noopener">'
            f'<img src="{source}" alt="{step}" loading="lazy"></a>'
            f"<figcaption>{step}</figcaption></figure>"
        )
    body = "".join(
        f'<div class="prompt">{escape(prompt)}</div><div class="strip">{"".join(cells)}</div>'
        for prompt, cells in rows.items()
    )
    return f'<div class="samples">{body}</div>'
