"""The photos of a subject: bringing them in, what was refused and why, crops and captions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.core.errors import UserError
from pipelines.core.messages import Message
from pipelines.dreambooth.data import identifiers
from pipelines.dreambooth.data.examples import examples
from pipelines.dreambooth.data.subjects import MAX_CAPTION, MAX_NAME, MAX_WORD, Photo, Subject
from studio.core.cleaning import forget_uploads
from studio.features.training import train_views
from studio.page import views
from studio.page.components.deletion import UNASKED, Deletion
from studio.page.widgets import DRAFT, QUIET, Visitor, as_text, follow_newest, label

if TYPE_CHECKING:
    from studio.core.services import Studio
    from studio.features.training.subjects import Outcome

NEW = ""  # the choice of a subject that does not exist yet
FIRST_NAME = "My subject"


class PhotosForm:
    """Draws the choice of a subject, its photos and its words.

    Attributes:
        subject: its value is the subject's id, or :data:`NEW`.
        identifier, class_word: the words for it.
        outputs: what :meth:`show` updates.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def draw(self) -> None:
        self.subject = gr.Dropdown(
            [(label("New subject"), NEW)],
            value=NEW,
            label=label("Subject"),
            elem_id="train-subject",
        )
        self._files = gr.File(
            label=label("Photos, or a zip of photos"),
            file_count="multiple",
            type="filepath",
            height=160,
            elem_id="train-files",
        )
        with gr.Row(elem_classes="actions"):
            self._example = gr.Button(label("Example photos"), size="sm", elem_id="train-example")
        self._said = gr.HTML(elem_id="train-said")
        self._grid = gr.HTML(elem_id="train-photos", js_on_load=views.PICTURE_CLICKED)
        self._chosen = gr.State(None)
        with gr.Column(visible=False, elem_classes="photo-editor") as self._editor:
            self._whole = gr.HTML(elem_id="train-whole", js_on_load=train_views.FOCUS_SET)
            self._caption = gr.Textbox(
                label=label("Caption"),
                info=label("What is to be seen; [trigger] stands for the subject."),
                max_length=MAX_CAPTION,
                elem_id="train-caption",
            )
            with gr.Row(elem_classes="actions"):
                self._automatic = gr.Button(
                    label("Automatic crop"), size="sm", elem_id="train-automatic"
                )
                self._remove = gr.Button(label("Remove photo"), size="sm", elem_id="train-remove")
        called = partial(gr.Textbox, max_lines=1, elem_classes=DRAFT)
        self.name = called(
            label=label("What is it called?"),
            placeholder=label("Whiskers"),
            max_length=MAX_NAME,
            elem_id="train-called",
        )
        with gr.Row():
            self.class_word = called(
                label=label("What is it?"),
                info=label("One word that the model knows: cat, mug, toy."),
                max_length=MAX_WORD,
                elem_id="train-class-word",
            )
            self.identifier = called(
                label=label("Identifier"),
                info=label("A rare word that means nothing yet and will stand for it."),
                max_length=MAX_WORD,
                elem_id="train-identifier",
            )
        self._checked = gr.HTML(elem_id="train-checked")
        self._deletion = Deletion("Delete with all that was made", "train-delete")

    @property
    def outputs(self) -> list[Any]:
        return [
            self.subject,
            self.name,
            self.class_word,
            self.identifier,
            self._said,
            *self._of_photos,
            *self._deletion.outputs,
        ]

    @property
    def words(self) -> list[gr.Textbox]:
        """What is typed of a subject; a new one has it in the browser alone."""
        return [self.name, self.class_word, self.identifier]

    @property
    def _of_photos(self) -> list[Any]:
        return [self._grid, self._chosen, self._editor, self._whole, self._caption]

    def listen(self, model: gr.Dropdown, method: gr.Dropdown) -> list[gr.events.Dependency]:
        """Connect the controls; the events that may change what is learnt are returned.

        Args:
            model: the base model, whose tokenizer the identifier is checked by.
            method: that learns the identifier.
        """
        words = [self.subject, *self.words]
        at = [self.subject, self._chosen]
        added = self._files.upload(
            self._add, [self._files, model, *words], [self._files, *self.outputs], **QUIET
        )
        example = self._example.click(self._took_example, model, self.outputs, **QUIET)
        chosen = self.subject.input(
            self._open, [self.subject, model], self.outputs, preprocess=False, **QUIET
        )
        self._grid.pick(self._pick, self.subject, self._of_photos, **QUIET)
        self._whole.pick(self._focus, at, [self._said, *self._of_photos], **QUIET)
        self._automatic.click(self._refocus, at, [self._said, *self._of_photos], **QUIET)
        gr.on(
            [self._caption.blur, self._caption.submit],
            self._set_caption,
            [*at, self._caption],
            [self._said, *self._of_photos],
            **QUIET,
        )
        # A reload gives no moment to leave the field.
        follow_newest([self._caption.input], self._keep_typed, [*at, self._caption], self._said)
        removed = self._remove.click(
            self._remove_photo, at, [self._said, *self._of_photos], **QUIET
        )
        gr.on(
            [each.blur for each in self.words],
            self._rename,
            words,
            [self.subject, self._said],
            **QUIET,
        )
        follow_newest(
            [self.identifier.change, self.class_word.change, model.change, method.change],
            self._check,
            [self.identifier, self.class_word, model, method],
            self._checked,
        )
        self._deletion.ask(self.subject, self._question)
        deleted = self._deletion.really.click(
            self._delete, [self.subject, model], self.outputs, **QUIET
        )
        return [added, example, chosen, removed, deleted]

    def show(self, id: str, model: str, visitor: Visitor, said: str = "") -> list[Any]:
        """Updates of :attr:`outputs` that show a subject, or an empty one."""
        subject = self._find(id, visitor)
        known = self.studio.subjects.list(visitor.owner.id)
        choices = [(label("New subject"), NEW), *((each.name, each.id) for each in known)]
        return [
            gr.update(choices=choices, value=subject.id if subject else NEW),
            subject.name if subject else "",
            subject.class_word if subject else "",
            (subject.identifier if subject else "") or self._propose(model, visitor),
            said,
            *self._photos(subject, None, visitor),
            gr.update(visible=subject is not None),
            UNASKED,
        ]

    # --- events -----------------------------------------------------------------------------

    def _add(
        self,
        paths: list[str] | None,
        model: str,
        id: str,
        name: str,
        class_word: str,
        identifier: str,
        request: gr.Request,
    ) -> Iterator[list[Any]]:
        """Takes the uploaded files one by one, into a new subject where none is chosen."""
        visitor = Visitor.of(request)
        left = [gr.skip()] * (len(self.outputs) - 1)
        place = self.outputs.index(self._said)
        found: list[Outcome] = []
        subjects, owner = self.studio.subjects, visitor.owner.id
        try:
            if self._find(id, visitor) is None:
                called = name.strip() or visitor.say(FIRST_NAME)
                id = subjects.create(owner, called, identifier, class_word).id
            files = [(Path(path).name, Path(path)) for path in paths or ()]
            for outcome in subjects.add(owner, id, files):
                found.append(outcome)
                note = Message("Looking at photo {count}: {name}", count=len(found),
                               name=outcome.name)  # fmt: skip
                said = views.notice(note, visitor)
                yield [None, *left[:place], said, *left[place:]]
        except UserError as error:
            said = views.error(error.message, visitor)
            yield [None, *self.show(id, model, visitor, said)]
            return
        finally:  # all at once: who sends a file twice has one copy here
            forget_uploads(self.studio.home, paths or ())
        yield [None, *self.show(id, model, visitor, train_views.outcomes(found, visitor))]

    def _took_example(self, model: str, request: gr.Request) -> list[Any]:
        visitor = Visitor.of(request)
        key = next(iter(examples()))
        try:
            word = self._propose(model, visitor)
            made = self.studio.subjects.from_example(visitor.owner.id, key, word)
        except UserError as error:
            return self.show(NEW, model, visitor, views.error(error.message, visitor))
        return self.show(made.id, model, visitor)

    def _open(self, id: str, model: str, request: gr.Request) -> list[Any]:
        return self.show(id or NEW, model, Visitor.of(request))

    def _pick(self, id: str, event: gr.EventData, request: gr.Request) -> list[Any]:
        visitor = Visitor.of(request)
        return self._photos(self._find(id, visitor), str(event._data.get("id")), visitor)

    def _focus(
        self, id: str, chosen: str | None, event: gr.EventData, request: gr.Request
    ) -> list[Any]:
        at = (event._data.get("x"), event._data.get("y"))
        if not all(isinstance(each, int | float) for each in at):
            return [gr.skip()] * (1 + len(self._of_photos))
        return self._change(id, chosen, Visitor.of(request), focus=at)

    def _refocus(self, id: str, chosen: str | None, request: gr.Request) -> list[Any]:
        return self._change(id, chosen, Visitor.of(request), automatic=True)

    def _set_caption(
        self, id: str, chosen: str | None, caption: str, request: gr.Request
    ) -> list[Any]:
        return self._change(id, chosen, Visitor.of(request), caption=caption)

    def _keep_typed(self, id: str, chosen: str | None, caption: str, request: gr.Request) -> str:
        """Keeps a caption that is being typed; its field is left as it is."""
        return self._change(id, chosen, Visitor.of(request), caption=caption)[0]

    def _change(self, id: str, chosen: str | None, visitor: Visitor, **change: Any) -> list[Any]:
        said = ""
        try:
            self.studio.subjects.change_photo(visitor.owner.id, as_text(id), str(chosen), **change)
        except UserError as error:
            said = views.error(error.message, visitor)
        return [said, *self._photos(self._find(id, visitor), chosen, visitor)]

    def _remove_photo(self, id: str, chosen: str | None, request: gr.Request) -> list[Any]:
        visitor, said = Visitor.of(request), ""
        try:
            self.studio.subjects.remove_photo(visitor.owner.id, as_text(id), str(chosen))
        except UserError as error:
            said = views.error(error.message, visitor)
        return [said, *self._photos(self._find(id, visitor), None, visitor)]

    def _rename(
        self, id: str, name: str, class_word: str, identifier: str, request: gr.Request
    ) -> list[Any]:
        """Keeps the words of a subject that exists; a new one keeps them with its first photo."""
        visitor = Visitor.of(request)
        if self._find(id, visitor) is None:
            return [gr.skip(), gr.skip()]
        subjects, owner = self.studio.subjects, visitor.owner.id
        try:
            subjects.change(owner, id, name, identifier, class_word)
        except UserError as error:
            return [gr.skip(), views.error(error.message, visitor)]
        choices = [(each.name, each.id) for each in subjects.list(owner)]
        return [gr.update(choices=[(label("New subject"), NEW), *choices]), ""]

    def _check(
        self, identifier: str, class_word: str, model: str, method: str, request: gr.Request
    ) -> str:
        visitor = Visitor.of(request)
        if not identifier.strip():
            return ""
        try:
            entry = self.studio.loras.entry(visitor.owner.id, as_text(model))
            checked = identifiers.check(identifier, entry, method, class_word)
        except UserError as error:
            return views.error(error.message, visitor)
        show = views.summary if checked.good else _hint
        return show([checked.message], visitor)

    def _question(self, id: str | None, visitor: Visitor) -> str | None:
        subject = self._find(id, visitor)
        if subject is None:
            return None
        found = self.studio.subjects.list_made(visitor.owner.id, subject.id)
        return train_views.deletion_question(subject, found, visitor)

    def _delete(self, id: str, model: str, request: gr.Request) -> list[Any]:
        visitor, said = Visitor.of(request), ""
        try:
            self.studio.subjects.delete(visitor.owner.id, as_text(id))
        except UserError as error:
            said = views.error(error.message, visitor)
        return self.show(id, model, visitor, said)

    # --- what is shown ----------------------------------------------------------------------

    def _find(self, id: str | None, visitor: Visitor) -> Subject | None:
        try:
            return self.studio.subjects.get(visitor.owner.id, as_text(id)) if id else None
        except UserError:  # deleted in another window
            return None

    def _photos(self, subject: Subject | None, chosen: str | None, visitor: Visitor) -> list[Any]:
        """Updates of the grid and of the editor below it."""
        photo = self._photo(subject, chosen)
        grid = train_views.photos(subject, photo.id if photo else None, visitor)
        if subject is None or photo is None:
            return [grid, None, gr.update(visible=False), "", ""]
        whole = train_views.whole_photo(subject, photo, visitor)
        return [grid, photo.id, gr.update(visible=True), whole, photo.caption]

    @staticmethod
    def _photo(subject: Subject | None, chosen: str | None) -> Photo | None:
        photos = subject.photos if subject else ()
        return next((photo for photo in photos if photo.id == chosen), None)

    def _propose(self, model: str, visitor: Visitor) -> str:
        taken = self.studio.subjects.identifiers(visitor.owner.id)
        try:
            entry = self.studio.loras.entry(visitor.owner.id, as_text(model))
            words = identifiers.propose(entry, taken, count=1)
        except UserError:  # the model has gone from the home folder
            return ""
        return next(iter(words), "")


def _hint(messages: list[Message], visitor: Visitor) -> str:
    return "".join(views.notice(message, visitor) for message in messages)
