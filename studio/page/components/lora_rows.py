"""Which LoRAs a picture uses, and how strongly: rows of a picker and a weight.

A prompt's own tags (``<lora:name:0.8>``) work beside them, and count where both name one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.core.errors import UserError
from pipelines.core.matching import find_name, name_key
from pipelines.diffusion.lora.families import title_of
from pipelines.diffusion.lora.tags import tags_in, with_tags
from pipelines.diffusion.lora.use import LoraUse
from studio.page.widgets import QUIET, Visitor, from_field, label

if TYPE_CHECKING:
    from studio.core.services import Studio

ROWS = 4  # a prompt's tags can name further ones
NONE = ""
_STRONGEST = 2.0  # of the sliders; requests and tags take more


class LoraRows:
    """Draws the rows; those after the first empty one are hidden.

    Args:
        studio: whose library.
        prefix: of the controls' ``elem_id``.

    Attributes:
        inputs: a name and a weight for each row, as event listeners take them and as
            :meth:`fill` updates them.
    """

    def __init__(self, studio: Studio, prefix: str) -> None:
        self.studio, self.prefix = studio, prefix
        self.inputs: list[gr.components.Component] = []
        self._rows: list[gr.Row] = []

    def draw(self) -> None:
        with gr.Accordion(label("LoRAs"), open=False, elem_id=f"{self.prefix}loras") as self._fold:
            for number in range(1, ROWS + 1):
                with gr.Row(elem_classes="lora-row", visible=number == 1) as row:
                    self._draw_row(number)
                self._rows.append(row)

    def _draw_row(self, number: int) -> None:
        name = from_field(
            LoraUse, "name", kind=gr.Dropdown, choices=[(label("None"), NONE)], value=NONE,
            info=None, elem_id=f"{self.prefix}lora-{number}", scale=3, min_width=140,
        )  # fmt: skip
        weight = from_field(
            LoraUse, "weight", label=label("Weight"), info=None, minimum=-_STRONGEST,
            maximum=_STRONGEST, step=0.05, elem_id=f"{self.prefix}lora-weight-{number}",
            scale=4, min_width=160,
        )  # fmt: skip
        self.inputs += [name, weight]

    def listen(self) -> None:
        """Connect the rows; what is in the library is looked up whenever they are unfolded."""
        self._fold.expand(self._offer, self._pickers, self._pickers, **QUIET)
        gr.on(
            [picker.input for picker in self._pickers],
            lambda *names: [gr.update(visible=shown) for shown in _visible_rows(names)],
            self._pickers,
            self._rows,
            **QUIET,
        )

    @property
    def outputs(self) -> list[Any]:
        """What :meth:`fill` updates."""
        return [*self.inputs, *self._rows, self._fold]

    def data(self, values: Sequence[Any]) -> list[dict[str, Any]]:
        """The values of :attr:`inputs` as the ``loras`` of a request; of two alike, the last."""
        named = {
            name: {"name": name, "weight": 1.0 if weight is None else weight}
            for name, weight in zip(values[::2], values[1::2], strict=True)
            if isinstance(name, str) and name
        }
        return list(named.values())

    def fill(self, uses: Sequence[Mapping[str, Any]], prompt: str, visitor: Visitor) -> list[Any]:
        """Updates of :attr:`outputs` that show ``uses``, but for those that the prompt names."""
        known = [name for _, name in self._choices(visitor) if name]
        tagged = _names_in(prompt)
        meant = [(find_name(use["name"], known), use) for use in uses]
        shown = [(name, use) for name, use in meant if name and name_key(name) not in tagged][:ROWS]
        names = [name for name, _ in shown] + [NONE] * (ROWS - len(shown))
        weights = [use.get("weight", 1.0) for _, use in shown] + [1.0] * (ROWS - len(shown))
        choices = self._choices(visitor)
        updates = []
        for name, weight in zip(names, weights, strict=True):
            updates += [gr.update(choices=choices, value=name), gr.update(value=weight)]
        rows = [gr.update(visible=visible) for visible in _visible_rows(names)]
        return [*updates, *rows, gr.update(open=True) if shown else gr.skip()]

    @property
    def _pickers(self) -> list[gr.components.Component]:
        return self.inputs[::2]

    def _choices(self, visitor: Visitor) -> list[tuple[Any, str]]:
        library = self.studio.loras.list(visitor.owner.id)
        names = {each.name: each for each in reversed(library) if each.kind != "model"}
        listed = [(f"{name} · {title_of(each.family)}", name) for name, each in names.items()]
        return [(label("None"), NONE), *reversed(listed)]

    def _offer(self, request: gr.Request, *chosen: str | None) -> list[Any]:
        """The library may have changed; what has left it is chosen no longer."""
        choices = self._choices(Visitor.of(request))
        names = [name for _, name in choices]
        return [
            gr.update(choices=choices, value=name if name in names else NONE) for name in chosen
        ]


def with_split_weights_in_prompt(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """A request's fields with LoRAs of two weights as tags of the prompt: a row has one slider."""
    uses = fields.get("loras") or ()
    split = [use for use in uses if use.get("text_weight") is not None]
    if not split or "prompt" not in fields:
        return fields
    others = [use for use in uses if use not in split]
    return {**fields, "prompt": with_tags(fields["prompt"] or "", split), "loras": others}


def _visible_rows(names: Sequence[str | None]) -> list[bool]:
    """A row more than are in use."""
    last = max((at for at, name in enumerate(names) if name), default=-1)
    return [at <= last + 1 for at in range(len(names))]


def _names_in(prompt: str) -> set[str]:
    try:
        return {name_key(use.name) for use in tags_in(prompt)}
    except UserError:  # said when it is painted
        return set()
