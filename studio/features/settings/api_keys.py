"""Keys for other programs: the host makes, sees and revokes them on the page."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.core.errors import Refused, UserError
from pipelines.core.messages import Message
from studio.core.accounts.keys import ApiKey, KeyRequest
from studio.page import views
from studio.page.widgets import QUIET, Visitor, from_field, label

if TYPE_CHECKING:
    from studio.core.services import Studio
    from studio.page.tab_events import TabEvents

MAX_SHOWN = 50  # the newest


class ApiKeys:
    """Draws what makes and revokes the host's own keys, as ``python -m studio.keys`` does.

    Args:
        studio: whose keys they are.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def draw(self) -> None:
        """The fields of a new key, and the list of those that are valid."""
        gr.Markdown(label("### Keys for other programs"))
        name = from_field(KeyRequest, "name", elem_id="key-name")
        with gr.Row():
            # A field for numbers would show 0, which is no limit, where it is left empty.
            limits = [
                from_field(KeyRequest, field, kind=gr.Textbox)
                for field in ("requests_per_minute", "tokens_per_minute")
            ]
        self._fields = [name, *limits]
        with gr.Row(elem_classes="actions"):
            self._make = gr.Button(label("Make a key"), size="sm", elem_id="make-key")
        self._said = gr.HTML(elem_id="key-said")
        self._chosen = gr.Dropdown(
            label=label("Valid keys"), choices=[], visible=False, elem_id="valid-keys"
        )
        with gr.Row(elem_classes="actions"):
            self._revoke = gr.Button(
                label("Revoke this key"), size="sm", visible=False, elem_id="revoke-key"
            )

    def listen(self, events: TabEvents) -> None:
        """Connect the buttons; every event checks again that it is the host's."""
        outputs = [self._said, self._chosen, self._revoke]
        events.tab.select(self._show, None, outputs, **QUIET)
        self._make.click(self._make_key, self._fields, outputs, preprocess=False, **QUIET)
        self._revoke.click(self._revoke_key, self._chosen, outputs, preprocess=False, **QUIET)

    def _show(self, request: gr.Request) -> list[Any]:
        return ["", *self._list(Visitor.of(request))]

    def _make_key(self, name: Any, requests: Any, tokens: Any, request: gr.Request) -> list[Any]:
        visitor = Visitor.of(request)
        return [self.make(visitor, name, requests, tokens), *self._list(visitor)]

    def _revoke_key(self, chosen: Any, request: gr.Request) -> list[Any]:
        visitor = Visitor.of(request)
        return [self.revoke(visitor, chosen), *self._list(visitor)]

    def make(self, visitor: Visitor, name: Any, requests: Any, tokens: Any) -> str:
        """Makes a key; returns it, for this once, or why there is none, as HTML."""
        try:
            limits = [_limit(each) for each in (requests, tokens)]
            _, token = self.studio.keys.make(visitor.owner, name, *limits)
        except UserError as error:
            return views.error(error.message, visitor)
        words = Message("Copy this key now, it is not shown again: {key}", key=token)
        return views.notice(words, visitor)

    def revoke(self, visitor: Visitor, key_id: Any) -> str:
        """Ends a key of the visitor's; returns what is said of it as HTML."""
        try:
            if not visitor.owner.is_host:
                raise Refused("Only the host makes keys for the API.")
            if not key_id:
                return views.notice("Choose a key first.", visitor)
            key = self.studio.keys.revoke(visitor.owner.id, key_id)
        except UserError as error:
            return views.error(error.message, visitor)
        words = Message("{name} (…{ending}) is revoked.", name=key.name, ending=key.ending)
        return views.notice(words, visitor)

    def choices(self, visitor: Visitor) -> list[tuple[str, str]]:
        """What each valid key of a host's is called, and its id; the newest first."""
        if not visitor.owner.is_host:
            return []
        valid = [key for key in self.studio.keys.list(visitor.owner.id) if key.revoked is None]
        return [(_describe(key, visitor), key.id) for key in valid[:MAX_SHOWN]]

    def _list(self, visitor: Visitor) -> list[Any]:
        """Updates of the list, and of the button below it, which are there where keys are."""
        choices = self.choices(visitor)
        shown = gr.update(visible=bool(choices))
        return [gr.update(choices=choices, value=None, visible=bool(choices)), shown]


def _limit(typed: Any) -> Any:
    """What was typed as a limit; None where the settings' own holds."""
    return (typed.strip() or None) if isinstance(typed, str) else typed


def _describe(key: ApiKey, visitor: Visitor) -> str:
    if key.used is None:
        words = Message("{name} (…{ending}), never used", name=key.name, ending=key.ending)
    else:
        day = time.strftime("%Y-%m-%d", time.localtime(key.used))
        words = Message(
            "{name} (…{ending}), last used {day}", name=key.name, ending=key.ending, day=day
        )
    return visitor.say(words)
