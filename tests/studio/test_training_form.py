"""The settings of a training: what the page asks for is what can be trained."""

from __future__ import annotations

from types import SimpleNamespace

import gradio as gr
import pytest

from pipelines.catalog import Catalog
from studio.tabs.training_form import TrainingForm


@pytest.fixture
def form(tmp_path) -> TrainingForm:
    """The form as drawn, in a studio that has the shipped models."""
    made = TrainingForm(SimpleNamespace(catalog=Catalog(tmp_path)))
    with gr.Blocks():
        made.draw_choice()
        made.draw_rest()
    return made


def values(form: TrainingForm, identifier: str = "kref", **changes) -> list:
    """What the page sends: the controls' values with ``changes``, and the subject's words."""
    settings = {name: control.value for name, control in form.controls.items()} | changes
    return [*settings.values(), "0" * 32, identifier, "mug", "Mug"]


def test_textual_inversion_gets_a_new_word_and_the_other_methods_the_subject_s(form):
    assert form.data(values(form))["identifier"] == "kref"
    assert form.data(values(form, method="full"))["identifier"] == "kref"
    new = values(form, method="textual_inversion")
    assert form.data(new)["identifier"] == "kref-mug"
    own = values(form, "mug-of-mine", method="textual_inversion")
    assert form.data(own)["identifier"] == "mug-of-mine"


def test_a_model_that_has_gone_is_the_servers_to_say(form):
    gone = values(form, method="textual_inversion", model="gone")
    assert form.data(gone)["identifier"] == "kref"
