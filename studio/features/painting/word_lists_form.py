"""The part of the page where lists of words are looked at and, by the host, changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.core.errors import UserError
from pipelines.core.messages import Message
from studio.features.painting.word_lists import WordList
from studio.page import views
from studio.page.widgets import QUIET, Visitor, as_text, from_field, label

if TYPE_CHECKING:
    from studio.core.services import Studio
    from studio.page.tab_events import TabEvents

_HELP = (
    "{choice} is one of several, {two} two of them, {list} a line of the list of that name. Every "
    "picture has words of its own, by its seed."
)


class WordListsForm:
    """Draws the lists, and connects them.

    Args:
        studio: whose lists.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def draw(self) -> None:
        """The lists, the words of the chosen one, and the host's buttons."""
        with gr.Accordion(label("Wildcards"), open=False, elem_id="wildcards"):
            self._help = gr.HTML(elem_id="wildcards-help")
            self._chosen = gr.Dropdown(
                [], label=label("List of words"), value=None, elem_id="wildcards-chosen"
            )
            self._name = from_field(WordList, "name", elem_id="wildcards-name", visible=False)
            self._text = from_field(
                WordList, "text", elem_id="wildcards-text", lines=6, max_lines=20, interactive=False
            )
            with gr.Row(visible=False, elem_classes="actions") as self._actions:
                self._save = gr.Button(label("Save"), size="sm", elem_id="wildcards-save")
                self._new = gr.Button(label("New list"), size="sm", elem_id="wildcards-new")
                self._delete = gr.Button(label("Delete"), size="sm", elem_id="wildcards-delete")
            self._said = gr.HTML(elem_id="wildcards-said")

    def listen(self, events: TabEvents) -> None:
        """Connect the controls; the server asks at every change whether it is the host's."""
        shown = [self._chosen, self._name, self._text, self._said]
        quiet = {**QUIET, "preprocess": False}
        events.load(self._open, None, [*shown, self._actions, self._help], **QUIET)
        self._chosen.focus(self._list, None, self._chosen, **QUIET)
        self._chosen.input(self._read, self._chosen, shown, **quiet)
        self._new.click(lambda: [None, "", "", ""], None, shown, **QUIET)
        self._save.click(self._write, [self._name, self._text], shown, **quiet)
        self._delete.click(self._remove, self._chosen, shown, **quiet)

    def _list(self) -> Any:
        """The lists may have come and gone since the tab was opened."""
        return gr.update(choices=self.studio.word_lists.names())

    def _open(self, request: gr.Request) -> list[Any]:
        visitor = Visitor.of(request)
        host = visitor.owner.is_host
        examples = {"choice": "{red|blue}", "two": "{2$$a|b|c}", "list": "__name__"}
        return [
            self._list(),
            gr.update(visible=host),
            gr.update(interactive=host),
            "",
            gr.update(visible=host),
            views.notice(Message(_HELP, **examples), visitor),
        ]

    def _read(self, name: Any, request: gr.Request) -> list[Any]:
        name = as_text(name)
        try:
            return [gr.skip(), name, self.studio.word_lists.text(name) if name else "", ""]
        except UserError as error:
            return self._refuse(error, request)

    def _write(self, name: Any, text: Any, request: gr.Request) -> list[Any]:
        visitor, name = Visitor.of(request), as_text(name).strip()
        try:
            self.studio.word_lists.write(visitor.owner, name, as_text(text))
        except UserError as error:
            return self._refuse(error, request)
        said = views.notice(Message("Saved. Write __{name}__ into a prompt.", name=name), visitor)
        names = self.studio.word_lists.names()
        return [gr.update(choices=names, value=name), name, gr.skip(), said]

    def _remove(self, name: Any, request: gr.Request) -> list[Any]:
        visitor = Visitor.of(request)
        try:
            self.studio.word_lists.delete(visitor.owner, as_text(name))
        except UserError as error:
            return self._refuse(error, request)
        # The words stay on the page: saved again, the list is back.
        said = views.notice(Message("Deleted {name}. Save brings it back.", name=name), visitor)
        names = self.studio.word_lists.names()
        return [gr.update(choices=names, value=None), gr.skip(), gr.skip(), said]

    @staticmethod
    def _refuse(error: UserError, request: gr.Request) -> list[Any]:
        return [gr.skip(), gr.skip(), gr.skip(), views.error(error.message, Visitor.of(request))]
