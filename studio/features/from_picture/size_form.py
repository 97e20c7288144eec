"""The size of a result by that of the picture on the canvas: its proportions, or its own pixels."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.core.errors import BadRequest, UserError
from pipelines.core.messages import Message
from pipelines.diffusion.from_picture.sizes import scaled_size, size_like, size_step
from pipelines.diffusion.picture_sides import LARGEST_SIDE, LEAST_SIDE
from studio.page import views
from studio.page.components.canvas import picture_on
from studio.page.widgets import QUIET, Visitor, follow_newest, label

if TYPE_CHECKING:
    from studio.core.services import Studio
    from studio.page.components.paint_form import PaintForm

LEAST_SCALE, LARGEST_SCALE = 0.05, 4.0  # as A1111's "Resize by"
NOTHING = "There is no picture yet. Bring one in, draw one, or send one here from the gallery."


class SizeForm:
    """Draws what sets width and height by a picture.

    Args:
        studio: whose pictures.
        form: whose width and height.
        prefix: of the controls' ``elem_id``.
    """

    def __init__(self, studio: Studio, form: PaintForm, prefix: str) -> None:
        self.studio, self._form, self._prefix = studio, form, prefix

    def draw(self) -> None:
        """The two buttons, the scale, and the place for what is said of the size."""
        with gr.Row():
            self._like = self._button("The picture's proportions", "take-size")
            self._own = self._button("The picture's own size", "own-size")
        self._scale = gr.Slider(
            LEAST_SCALE,
            LARGEST_SCALE,
            1.0,
            step=0.05,
            label=label("Times the picture's own size"),
            info=label("Sets width and height, as far as such sizes are painted."),
            elem_id=f"{self._prefix}scale",
        )
        # Width and height are folded away.
        self._said = gr.HTML(elem_id=f"{self._prefix}size-said", visible=False)

    def _button(self, words: str, name: str) -> gr.Button:
        return gr.Button(label(words), size="sm", min_width=120, elem_id=self._prefix + name)

    def listen(self, canvas: gr.HTML) -> None:
        """Let the controls set the size; ``canvas``: with the picture."""
        controls = self._form.controls
        model, size = controls["model"], [controls["width"], controls["height"]]
        outputs = [*size, self._said]
        self._like.click(self._size_like, [model, canvas], outputs, **QUIET)
        scaled = [model, canvas, self._scale]
        self._own.click(self._size_of, scaled, outputs, **QUIET)
        follow_newest([self._scale.input], self._size_of, scaled, outputs)
        hide = f"() => ({json.dumps(gr.update(visible=False))})"
        moved = [control.input for control in size] + [self._form.model_chosen.then]
        for moment in moved:
            moment(None, None, self._said, js=hide, **QUIET)

    def _size_like(self, model: Any, value: Any, request: gr.Request) -> list[Any]:
        """The picture's proportions, in as many pixels as the model is used to."""
        visitor = Visitor.of(request)
        try:
            picture = self._size_on(value, visitor)
        except UserError as error:
            return self._refuse(error, visitor)
        entry = self._form.entry_of({"model": model}, visitor)
        size = size_like(picture, entry.native_size, size_step(entry))
        return [*size, self._say(_size_now(size), visitor)]

    def _size_of(self, model: Any, value: Any, scale: Any, request: gr.Request) -> list[Any]:
        """So many times the picture's own pixels, and what is to be said where that cannot be."""
        visitor = Visitor.of(request)
        try:
            picture = self._size_on(value, visitor)
        except UserError as error:
            return self._refuse(error, visitor)
        step = size_step(self._form.entry_of({"model": model}, visitor))
        size, bounded = scaled_size(picture, float(scale or 1), step)
        said = _remark(picture, float(scale or 1), size, bounded, step)
        return [*size, self._say(said, visitor)]

    def _size_on(self, value: Any, visitor: Visitor) -> tuple[int, int]:
        if not (picture := picture_on(value)):
            raise BadRequest(NOTHING)
        brought = self.studio.inputs.get(visitor.owner.id, picture)
        return brought.width, brought.height

    @staticmethod
    def _say(said: Message, visitor: Visitor) -> Any:
        return gr.update(value=views.notice(said, visitor), visible=True)

    @staticmethod
    def _refuse(error: UserError, visitor: Visitor) -> list[Any]:
        said = gr.update(value=views.error(error.message, visitor), visible=True)
        return [gr.skip(), gr.skip(), said]


def _remark(
    picture: tuple[int, int], scale: float, size: tuple[int, int], bounded: bool, step: int
) -> Message:
    """The size, and why it is not just so many times the picture's where it is not."""
    wanted = tuple(round(side * scale) for side in picture)
    values = {"wanted": "{}×{}".format(*wanted), "size": "{}×{}".format(*size)}
    if bounded:
        return Message(
            "{wanted} pixels are not painted: a side has {least} to {limit}. It is {size} now.",
            least=LEAST_SIDE,
            limit=LARGEST_SIDE,
            **values,
        )
    if wanted == size:
        return _size_now(size)
    return Message(
        "Of {wanted} pixels it is {size}: sides are multiples of {step}.", step=step, **values
    )


def _size_now(size: tuple[int, int]) -> Message:
    return Message("It is {size} now.", size="{}×{}".format(*size))
