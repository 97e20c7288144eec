"""Controls made from the fields of a request, and the two ways in which the page speaks to people.

Labels are :func:`label`\\ s, which the browser translates; sentences that depend on values are
translated here on the server, by the visitor's ``Accept-Language``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import gradio as gr
from gradio.i18n import I18nData
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipelines.core.messages import Message
from studio.core.accounts.accounts import Owner, owner_of
from studio.i18n import language_of_request, translate

# Arguments of every event listener: not part of the HTTP API (studio.api is), no spinner over the
# page (it draws its own progress), and any number at a time (the jobs have a queue of their own).
# That no control shows progress spares the browser telling each of them at every step of an event.
QUIET: dict[str, Any] = {
    "api_visibility": "private",
    "show_progress": "hidden",
    "show_progress_on": [],
    "concurrency_limit": None,
}

# Of an event's ``then``, or of an own event that nothing else listens to: while it is at work, only
# the newest of all that come is kept for after.
NEWEST: dict[str, Any] = {**QUIET, "trigger_mode": "always_last"}

DRAFT = "draft"  # class of the text boxes whose words the browser keeps: assets/page/drafts.js
LONGEST = 10_000  # steps of a slider: where there are more, a number is typed


def follow_newest(
    moments: Sequence[Any], fn: Any, inputs: Any, outputs: Any, **options: Any
) -> gr.events.Dependency:
    """Let ``fn`` follow ``moments``; what comes while it is at work is followed once it is done.

    Gradio's ``always_last`` is for a ``then`` alone. On a control's own event it sends that event
    again, to all that listen: two such listeners start one another for ever, and the browser with
    the server is busy until the page is closed.
    """
    moved = gr.on(moments, None, js="() => {}", **QUIET, trigger_mode="multiple")
    return moved.then(fn, inputs, outputs, **NEWEST, **options)


def restore_drafts(
    filled: gr.events.Dependency,
    fields: Sequence[gr.Textbox],
    unless: gr.components.Component | None = None,
) -> None:
    """Put the words back that were typed into ``fields`` before the page was loaded anew.

    Args:
        filled: the event that fills them in.
        fields: of the class :data:`DRAFT`, each with an ``elem_id``.
        unless: a control; where it holds a value, the fields show what the server knows of that.
    """
    known = [] if unless is None else [unless]
    js = f"(known) => known ? {_skip_all(fields)} : {_restore(fields)}"
    filled.then(None, known, list(fields), js=js, **QUIET)


def restore_drafts_once(state: gr.State, fields: Sequence[gr.Textbox]) -> None:
    """As :func:`restore_drafts`, when ``state``, with which they are filled in, is first set."""
    # The change is told before the values that came with it are in the fields.
    js = f"""async () => {{
        await new Promise((filled) => setTimeout(filled));
        return {_restore(fields, "restoreOnce")};
    }}"""
    state.change(None, None, list(fields), js=js, **QUIET)


def keep_here(filled: gr.events.Dependency, field: gr.components.Component) -> None:
    """Let a browser tab keep the value of ``field``, however it came there, for its next load.

    Args:
        filled: the event that fills in the others.
        field: with an ``elem_id``.
    """
    name = json.dumps(field.elem_id)
    field.change(
        None, field, None, js=f"(value) => atelier.drafts.keepHere({name}, value)", **QUIET
    )
    js = f"() => atelier.drafts.restoreHere({name}, {_UNCHANGED})"
    filled.then(None, None, field, js=js, **QUIET)


def _restore(fields: Sequence[gr.Textbox], how: str = "restore") -> str:
    """Code of the words of the fields. Of a field that has none, nothing is changed: what it held
    when the browser looked may be older than what the server has just put there."""
    names = json.dumps([field.elem_id for field in fields])
    return f"{names}.map((name) => atelier.drafts.{how}(name, {_UNCHANGED}))"


def _skip_all(fields: Sequence[gr.Textbox]) -> str:
    return f"[{', '.join([_UNCHANGED] * len(fields))}]"


_UNCHANGED = json.dumps(gr.skip())


def as_text(value: Any) -> str:
    """The text that a control was sent: whoever sends an event may send anything else."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def label(text: str) -> I18nData:
    """``text`` in the reader's language: a key of ``studio/i18n/*.yaml``, without values."""
    return I18nData(text)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks at the page, and in which language."""

    owner: Owner
    language: str

    @classmethod
    def of(cls, request: gr.Request) -> Visitor:
        """The visitor who sent a Gradio event."""
        return cls(owner_of(request), language_of_request(request))

    def say(self, message: Message | str) -> str:
        """A message, or a fixed text, in the visitor's language."""
        return translate(message, self.language)


def from_field(model: type[BaseModel], name: str, **options: Any) -> gr.components.Component:
    """The control for a field of a request: its title, help, bounds and default.

    Bounded numbers become sliders, switches checkboxes, one of several words a list to choose from,
    everything else a text box. ``options`` are arguments of the control, ``kind`` is another class
    than that.
    """
    kind = options.pop("kind", None) or kind_of(model.model_fields[name])
    arguments = {"elem_id": name.replace("_", "-"), **arguments_of(model, name, kind)}
    return kind(**{**arguments, **options})


def arguments_of(model: type[BaseModel], name: str, kind: type) -> dict[str, Any]:
    """What a control of the class ``kind`` shows of a field: title, help, bounds and default."""
    field = model.model_fields[name]
    arguments: dict[str, Any] = {
        "label": label(field.title or name),
        "info": label(help_text(field)),
    }
    if not field.is_required() and field.default is not None:
        arguments["value"] = field.default
    if kind is gr.Slider:
        low, high = bounds(field)
        arguments |= {"minimum": low, "maximum": high, "step": step(field)}
    elif kind is gr.Number:
        arguments["precision"] = 0 if _python_type(field) is int else None
    elif kind is gr.Dropdown and (words := words_of(field)):
        arguments["choices"] = [(label(word), word) for word in words]
    return arguments


def help_text(field: FieldInfo) -> str:
    """A field's description without what it says of empty values: the page shows them all."""
    return shown_part(field.description or "")


def shown_part(description: str) -> str:
    return description.partition(" Empty:")[0]


def bounds(field: FieldInfo) -> tuple[float | None, float | None]:
    """The least and the greatest value of a number field."""
    return _constraint(field, "ge"), _constraint(field, "le")


def kind_of(field: FieldInfo) -> type:
    """The class of control that suits a field's type and bounds."""
    python_type = _python_type(field)
    if python_type is bool:
        return gr.Checkbox
    if words_of(field):
        return gr.Dropdown
    if python_type in (int, float):
        low, high = bounds(field)
        return gr.Number if low is None or high is None or high - low > LONGEST else gr.Slider
    return gr.Textbox


def words_of(field: FieldInfo) -> tuple[str, ...]:
    """Those that a field takes, where it takes no others."""
    options = (field.annotation, *get_args(field.annotation))
    return next((get_args(each) for each in options if get_origin(each) is Literal), ())


def _python_type(field: FieldInfo) -> Any:
    """The type without ``| None``."""
    options = [option for option in get_args(field.annotation) if option is not type(None)]
    return options[0] if options else field.annotation


def step(field: FieldInfo) -> float:
    """What one move of a slider changes."""
    if _python_type(field) is int:
        return _constraint(field, "multiple_of") or 1
    low, high = bounds(field)
    return 0.05 if high - (low or 0) <= 1 else 0.1


def _constraint(field: FieldInfo, name: str) -> Any:
    return next((getattr(m, name) for m in field.metadata if hasattr(m, name)), None)
