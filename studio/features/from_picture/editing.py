"""How a model is to take the picture: begin from it, or be told what to change of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.core.errors import UserError
from pipelines.core.pictures.uploads import read_file
from pipelines.diffusion.from_picture.requests import FromPicture
from studio.core.cleaning import forget_uploads
from studio.page import views
from studio.page.components.paint_form import find_entry, offered_models
from studio.page.widgets import QUIET, Visitor, label

if TYPE_CHECKING:
    from pipelines.models.catalog import ModelEntry
    from studio.core.services import Studio
    from studio.page.components.paint_form import PaintForm

_BEGIN, _WORDS = "begin", "words"
_SUFFIXES = [".png", ".jpg", ".jpeg", ".webp"]


class EditingForm:
    """Draws the choice, and the further pictures; both are only seen with models that edit.

    Args:
        studio: whose brought-in pictures.
        form: which model is chosen.

    Attributes:
        inputs: as :meth:`data` reads them.
        outputs: as :meth:`fill` fills them.
    """

    def __init__(self, studio: Studio, form: PaintForm) -> None:
        self.studio, self._form = studio, form

    def draw(self) -> None:
        field = FromPicture.model_fields["references"]
        self._how = gr.Radio(
            [(label("Begin from the picture"), _BEGIN), (label("Edit by words"), _WORDS)],
            value=_BEGIN,
            label=label("How the picture is used"),
            info=label("To edit, say in the prompt what is to change: make the mug blue."),
            visible=False,
            elem_id="change-how",
        )
        self._ids = gr.State([])
        with gr.Column(visible=False, elem_id="change-references") as self._further:
            self._files = gr.File(
                label=label(field.title),
                file_count="multiple",
                file_types=_SUFFIXES,
                type="filepath",
                height=110,
                elem_id="change-reference-files",
            )
            self._shown = gr.HTML(elem_id="change-reference-pictures")
            self._clear = gr.Button(
                label("Take them away"), size="sm", visible=False, elem_id="change-no-references"
            )

    @property
    def inputs(self) -> list[Any]:
        return [self._how, self._ids]

    @property
    def outputs(self) -> list[Any]:
        return [self._how, self._ids, self._further, self._shown, self._clear]

    def listen(self, strength: gr.components.Component) -> None:
        """Connects the controls; ``strength`` is only asked for where the model begins."""
        model = self._form.controls["model"]
        at = [model, *self.inputs]
        for moment in (self._form.model_chosen.then, self._how.input):
            moment(self._view, at, [*self.outputs, strength], preprocess=False, **QUIET)
        self._files.upload(self._bring, [self._files, *at], [self._files, *self.outputs], **QUIET)
        self._clear.click(self._clear_fields, at, self.outputs, preprocess=False, **QUIET)

    def data(self, values: Sequence[Any], model: Any) -> dict[str, Any]:
        """The fields of :class:`FromPicture` that the controls ask for; ``model``: its name."""
        how, ids = values
        entry = find_entry(model, offered_models(self.studio))
        if entry is None or not entry.edits:
            return {}
        edit = entry.edits_only or how == _WORDS
        return {"edit": edit, "references": list(ids or ()) if edit else []}

    def fill(
        self, asked: Mapping[str, Any] | None, entry: ModelEntry | None, visitor: Visitor
    ) -> list[Any]:
        """The controls as a request had them; pictures that are no longer here are left out."""
        asked = asked or {}
        how = _WORDS if asked.get("edit") else _BEGIN
        return self._updates(
            how, self._here(asked.get("references") or (), visitor), entry, visitor
        )

    def _here(self, ids: Sequence[str], visitor: Visitor) -> list[str]:
        found = []
        for id in ids:
            try:
                self.studio.inputs.get(visitor.owner.id, str(id))
            except UserError:
                continue
            found.append(str(id))
        return found

    def _view(self, model: Any, how: Any, ids: Any, request: gr.Request) -> list[Any]:
        visitor = Visitor.of(request)
        entry = self._form.entry_of({"model": model}, visitor)
        begins = entry is None or not entry.edits or (how != _WORDS and not entry.edits_only)
        updates = self._updates(how, list(ids or ()), entry, visitor)
        return [*updates, gr.update(visible=begins)]

    def _bring(
        self, paths: list[str] | None, model: Any, how: Any, ids: Any, request: gr.Request
    ) -> list[Any]:
        visitor = Visitor.of(request)
        entry = self._form.entry_of({"model": model}, visitor)
        found, said = list(ids or ()), ""
        try:
            for path in paths or ():
                kept = self.studio.inputs.bring(visitor.owner.id, read_file(Path(path)))
                found.append(kept.id)
                said += "".join(views.notice(note, visitor) for note in kept.notes)
        except UserError as error:
            said += views.error(error.message, visitor)
        finally:
            forget_uploads(self.studio.home, paths or ())
        return [None, *self._updates(how, found, entry, visitor, said)]

    def _clear_fields(self, model: Any, how: Any, ids: Any, request: gr.Request) -> list[Any]:
        visitor = Visitor.of(request)
        return self._updates(how, [], self._form.entry_of({"model": model}, visitor), visitor)

    def _updates(
        self,
        how: Any,
        ids: list[str],
        entry: ModelEntry | None,
        visitor: Visitor,
        said: str = "",
    ) -> list[Any]:
        edits = entry is not None and entry.edits
        only = entry is not None and entry.edits_only
        further = edits and entry.references > 1 and (only or how == _WORDS)
        alt = visitor.say("Picture {number}")
        pictures = "".join(
            f'<img src="api/v1/inputs/{escape(id)}.png" height="64" loading="lazy" '
            f'alt="{escape(alt.format(number=number))}">'
            for number, id in enumerate(ids, start=2)
        )
        return [
            gr.update(value=how, visible=edits and not only),
            ids,
            gr.update(visible=further),
            said + pictures,
            gr.update(visible=bool(ids)),
        ]
