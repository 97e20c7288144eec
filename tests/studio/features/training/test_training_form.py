"""The settings of a training: what the page asks for is what can be trained."""

from __future__ import annotations

from types import SimpleNamespace

import gradio as gr
import pytest

from pipelines.core.errors import NotFound
from pipelines.models.catalog import Catalog
from studio.core.accounts.accounts import LOCAL_OWNER
from studio.features.training.training_form import TrainingForm
from studio.page.widgets import Visitor

VISITOR = Visitor(LOCAL_OWNER, "en")


@pytest.fixture
def form(tmp_path) -> TrainingForm:
    """The form as drawn, in a studio that has the shipped models."""

    def none(owner, id):
        raise NotFound("There is no subject.")

    studio = SimpleNamespace(catalog=Catalog(tmp_path), subjects=SimpleNamespace(get=none))
    made = TrainingForm(studio)
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


OF_LORA = {"rank", "alpha", "dropout", "target_modules"}
OF_WEIGHTS = {
    *("train_text_encoder", "text_encoder_learning_rate", "prior_preservation", "prior_weight"),
    *("class_pictures", "class_prompts"),
}


@pytest.mark.parametrize(
    ("method", "hidden"),
    [
        ("lora", {"vectors"}),
        ("full", {"vectors"} | OF_LORA),
        ("textual_inversion", OF_LORA | OF_WEIGHTS),
    ],
)
def test_what_a_method_has_no_use_for_is_hidden(form, method, hidden):
    *updates, batch = form.fill({"steps": 7, "batch_size": 2}, method, "", VISITOR)
    shown = dict(zip(form.controls, updates, strict=True))
    assert {name for name, update in shown.items() if not update["visible"]} == hidden
    assert (shown["steps"]["value"], batch) == (7, 2)
    assert "value" not in shown["rank"]


def test_the_form_is_drawn_for_a_lora(form):
    assert {name for name, control in form.controls.items() if not control.visible} == {"vectors"}


def test_the_batch_is_shown_no_larger_than_the_photos_are_many(form):
    form.studio.subjects = SimpleNamespace(get=lambda *_: SimpleNamespace(photos=[None] * 5))
    *updates, batch = form.fill({"batch_size": 8}, "lora", "0" * 32, VISITOR)
    shown = dict(zip(form.controls, updates, strict=True))
    assert (shown["batch_size"]["value"], batch) == (5, 8)
