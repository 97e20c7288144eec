"""Controls that take on the parameters of whatever is chosen beside them.

There are as many controls of each kind as the choice with the most needs; the others are hidden.
One more, which nobody sees, says whose values they hold. It travels with them: a button that is
pressed the moment after a choice sends the controls as they were before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import gradio as gr
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from studio.page.widgets import arguments_of, from_field, kind_of


class Parameters:
    """Draws the controls, showing those of one model first.

    Args:
        models: all that can be chosen.
        first: the one whose parameters are shown at the start.
        prefix: of the controls' ``elem_id``.
        kind: the class of control for a field.
        leave_out: fields that have no control here.

    Attributes:
        whose: the hidden control that names the model whose values the others hold.
        controls: all of them, in the order of :meth:`show` and :meth:`data`.
    """

    def __init__(
        self,
        models: Iterable[type[BaseModel]],
        first: type[BaseModel],
        prefix: str,
        kind: Callable[[FieldInfo], type] = kind_of,
        leave_out: Collection[str] = (),
    ) -> None:
        self._kind_of, self._leave_out = kind, leave_out
        counts: Counter[type] = Counter()
        examples: dict[type, tuple[type[BaseModel], str]] = {}
        for model in models:
            kinds = self._kinds_of(model)
            counts |= Counter(kinds.values())
            examples |= {kind: (model, name) for name, kind in kinds.items()}
        self._kinds = [kind for kind, count in counts.items() for _ in range(count)]
        self.whose = gr.Textbox(first.__name__, visible="hidden", elem_id=f"{prefix}-parameters-of")
        self.controls: list[gr.components.Component] = [self.whose]
        for place, (name, kind) in enumerate(zip(self._names(first), self._kinds, strict=True)):
            model, field = (first, name) if name else examples[kind]
            options: dict[str, Any] = {"elem_id": f"{prefix}-parameter-{place}"}
            if kind is gr.Number:  # today a whole number, tomorrow another's fraction
                options["precision"] = None
            self.controls.append(from_field(model, field, kind=kind, visible=bool(name), **options))

    def show(self, model: type[BaseModel], values: Mapping[str, Any]) -> list[Any]:
        """Updates of :attr:`controls` for ``model``; what ``values`` leave out has its default."""
        updates: list[Any] = [model.__name__]
        for name, kind in zip(self._names(model), self._kinds, strict=True):
            if name is None:
                updates.append(gr.update(visible=False))
                continue
            # What another model left in the control is none of this one's.
            arguments = {"value": None, **arguments_of(model, name, kind)}
            arguments.pop("precision", None)
            if name in values:
                arguments["value"] = values[name]
            updates.append(gr.update(**arguments, visible=True))
        return updates

    def change(self, model: type[BaseModel], values: Mapping[str, Any]) -> list[Any]:
        """Updates of :attr:`controls`, which are ``model``'s, that change these values alone."""
        named = (values.get(name, gr.skip()) for name in self._names(model))
        return [gr.skip(), *named]

    def data(self, model: type[BaseModel], values: Sequence[Any]) -> dict[str, Any]:
        """The values of :attr:`controls` as fields of ``model``, not yet checked.

        None, for which there are defaults, while the controls still hold another model's.
        """
        whose, *values = values
        if whose != model.__name__:
            return {}
        named = zip(self._names(model), values, strict=True)
        return {name: value for name, value in named if name is not None}

    def _names(self, model: type[BaseModel]) -> list[str | None]:
        """For each control the field of ``model`` that it stands for, or None."""
        free = list(self._kinds_of(model).items())
        names: list[str | None] = []
        for kind in self._kinds:
            found = next((item for item in free if item[1] is kind), None)
            names.append(found[0] if found else None)
            if found:
                free.remove(found)
        return names

    def _kinds_of(self, model: type[BaseModel]) -> dict[str, type]:
        fields = model.model_fields.items()
        return {name: self._kind_of(field) for name, field in fields if name not in self._leave_out}
