"""How a table's text is read, as controls: what was found, and what a person says instead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from pipelines.clustering.data.csv_dialect import DELIMITERS, Reading
from pipelines.clustering.data.encodings import ENCODINGS, TITLES
from pipelines.clustering.data.tables import Table
from pipelines.core.errors import validate
from pipelines.core.messages import Message
from studio.features.clustering.data.views import written_guess
from studio.page.widgets import Visitor, from_field, label

FOUND = ""  # in place of a value: found by looking
_HEADER = {"yes": True, "no": False}
_CHOICES: dict[str, Sequence[tuple[str, str]]] = {
    "encoding": [(TITLES[name], name) for name in ENCODINGS],
    "delimiter": [(written_guess("delimiter", mark), mark) for mark in DELIMITERS],
    "decimal": [(written_guess("decimal", mark), mark) for mark in (".", ",")],
    "thousands": [
        (written_guess("thousands", mark), mark) for mark in ("none", ",", ".", " ", "'")
    ],
    "header": [(written_guess("header", value), name) for name, value in _HEADER.items()],
}
OUTPUTS = 1 + len(_CHOICES)


class ReadingForm:
    """The controls; each begins with what was found.

    Attributes:
        box: what they stand in, shown for tables that are text.
        controls: in the order of :class:`Reading`'s fields.
    """

    def __init__(self) -> None:
        with gr.Accordion(
            label("How the file is read"), open=False, visible=False, elem_id="cluster-reading"
        ) as self.box:
            self.controls = [
                from_field(
                    Reading,
                    name,
                    kind=gr.Dropdown,
                    choices=[(label("Found from the file"), FOUND), *_label(name)],
                    value=FOUND,
                    info=None,
                    elem_id=f"cluster-reading-{name}",
                )
                for name in _CHOICES
            ]

    @property
    def outputs(self) -> list[Any]:
        """What :func:`reading_updates` updates: :data:`OUTPUTS` of them."""
        return [self.box, *self.controls]


def reading_updates(table: Table, visitor: Visitor) -> list[Any]:
    """Updates of :attr:`ReadingForm.outputs` for a table: what was found in it, or said of it."""
    guesses = {each.what: each for each in table.guesses}
    if not guesses:  # Parquet, NPY, or kept by an earlier version
        return [gr.update(visible=table.layout is not None), *[gr.skip()] * len(_CHOICES)]
    doubted = any(each.doubt for each in table.guesses)
    doubted = doubted or any(each.doubts for each in table.columns if each.kind == "number")
    updates = [gr.update(visible=True, open=doubted)]
    for name in _CHOICES:
        guess = guesses[name]
        found = label("Found from the file")
        value = {True: "yes", False: "no"}.get(guess.value, guess.value)
        if not guess.chosen:
            said = visitor.say(written_guess(name, guess.value))
            found = visitor.say(Message("Found: {value}", value=said))
        updates.append(
            gr.update(
                choices=[(found, FOUND), *_label(name)],
                value=value if guess.chosen else FOUND,
            )
        )
    return updates


def parse_reading(values: Sequence[str | None]) -> Reading:
    """What the controls say.

    Raises:
        BadRequest: the marks are the same.
    """
    said: dict[str, Any] = {
        name: value or None for name, value in zip(_CHOICES, values, strict=True)
    }
    said["header"] = _HEADER.get(said["header"])
    return validate(Reading, said)


def _label(name: str) -> list[tuple[Any, str]]:
    return [(label(words), value) for words, value in _CHOICES[name]]
