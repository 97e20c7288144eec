"""A studio without one of its own features: the rest goes on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from pipelines.core.errors import NotFound
from pipelines.diffusion.control.requests import ControlRequest
from studio import features as own
from studio.app import open_studio
from studio.core.accounts.accounts import LOCAL_OWNER
from studio.core.painting.checks import check_painting
from studio.core.services import Options, Studio
from studio.features import FEATURES, load_features
from studio.features.openai_api import models as openai_models
from studio.features.settings.tab import SettingsTab
from studio.page import shell
from studio.page.components.details import Details
from studio.page.components.paint_form import offered_models
from studio.page.widgets import Visitor
from tests.structure.sources import python_files, source_of
from tests.studio.live import build_api, sentence

ME = Visitor(LOCAL_OWNER, "en")
NEEDED = {"labs": "chat"}  # features that are nothing without another, and go with it


@contextmanager
def studio_without(name: str, home: Path) -> Iterator[Studio]:
    """A studio in which the import of one feature fails."""
    with pytest.MonkeyPatch.context() as patch:
        broken = [f"{name}_of_nowhere" if each == name else each for each in FEATURES]
        patch.setattr(own, "FEATURES", tuple(broken))
        studio = open_studio(Options(home, device="cpu", offline=True))
    try:
        yield studio
    finally:
        studio.close()


@pytest.mark.parametrize("name", FEATURES)
def test_without_one_feature_the_studio_answers_and_paints(name, tmp_path):
    with studio_without(name, tmp_path / "home") as studio:
        gone = {name, *(each for each, needed in NEEDED.items() if needed == name)}
        assert {each.name for each in studio.features} == {*FEATURES} - gone
        assert f"{name}_of_nowhere" in SettingsTab(studio)._what_is_left_out(ME)
        assert offered_models(studio, ME)
        Details(studio, "any").show({"prompt": "a mug", "model": "tiny"}, ME)

        client = TestClient(build_api(studio), "http://127.0.0.1", client=("127.0.0.1", 1))
        answer = client.get("/api/v1/models")
        assert answer.status_code == 200, answer.text
        assert answer.json()["models"]
        assert client.get("/scripts/page.js").status_code == 200  # the chat's and clustering's
        if name != "openai_api":
            assert openai_models.list_models(studio, LOCAL_OWNER)

        wanted = {"prompt": "a mug <lora:of nobody:1>"}
        answer = client.post("/api/v1/jobs/text_to_image", json=wanted)
        assert answer.status_code == 404
        assert ("of nobody" in sentence(answer)) == (name != "painting")
        if name != "painting":
            assert studio.submissions.check(LOCAL_OWNER, "text_to_image", {"prompt": "a mug"})


def test_without_chats_other_programs_are_told_that_there_are_no_language_models(tmp_path):
    with (
        studio_without("chat", tmp_path / "home") as studio,
        pytest.raises(NotFound, match="There is no model called sketch here"),
    ):
        openai_models.chat_model(studio, LOCAL_OWNER, "sketch")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("painting", "library") else pytest.mark.deep)
        for name in FEATURES
    ],
)
def test_without_one_feature_all_other_tabs_are_drawn(name, tmp_path):
    with studio_without(name, tmp_path / "home") as studio:
        there, failures = list(studio.features), {*studio.features.failures}
        assert shell.build(studio)
        assert list(studio.features) == there
        assert studio.features.failures.keys() == failures


def test_loras_are_looked_up_for_all_that_paint_whether_painting_is_there_or_not(tmp_path):
    with studio_without("painting", tmp_path / "home") as studio:
        assert studio.features.checks_of(ControlRequest)[0] is check_painting


def test_only_a_feature_itself_relies_on_its_services():
    brought = {service: each.name for each in load_features() for service in each.services}
    use = re.compile(rf"\b_?studio\.({'|'.join(brought)})\b")
    wrong = []
    for file in python_files("studio"):
        folder = file.split("/")[2] if file.startswith("studio/features/") else ""
        used = {(name, brought[name]) for name in use.findall(source_of(file))}
        wrong += [(file, *pair) for pair in used if pair[1] not in (folder, NEEDED.get(folder))]
    assert wrong == []
