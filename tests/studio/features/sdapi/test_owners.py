"""Lists and options, and whose they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.patience import PATIENCE
from tests.studio.live import TINY, build_api, live_studio, options_for
from tests.studio.people import ACCOUNTS

LISTS = ("sd-models", "samplers", "schedulers", "upscalers", "latent-upscale-modes", "loras",
         "prompt-styles")  # fmt: skip
EMPTY = ("sd-vae", "sd-modules", "face-restorers", "hypernetworks")


@pytest.fixture(scope="module")
def people(tmp_path_factory, twin_home) -> Iterator[dict[str, httpx.Client]]:
    """Programs that come with a name and its password, or with a key of the host's."""
    home = tmp_path_factory.mktemp("owners") / "home"
    options = options_for(home, twin_home, accounts=ACCOUNTS)
    with ExitStack() as opened:
        studio, address = opened.enter_context(live_studio(options, build_api))
        host = studio.accounts.owner_of_key("local")
        keys = [studio.keys.make(host, name)[1] for name in ("one", "other")]

        def program(**how: Any) -> httpx.Client:
            base = f"{address}/sdapi/v1/"
            return opened.enter_context(httpx.Client(base_url=base, timeout=PATIENCE, **how))

        yield {
            "ada": program(auth=("ada", "ada's own")),
            "ada too": program(auth=("ada", "ada's own")),
            "one": program(auth=("whoever", keys[0])),
            "one too": program(headers={"authorization": f"Bearer {keys[0]}"}),
            "other": program(auth=("", keys[1])),
            "nobody": program(),
            "wrong key": program(auth=("x", "sk-atelier-wrong")),
            "wrong password": program(auth=("ada", "wrong")),
        }


def test_lists_have_the_names_that_bodies_take(door, studio):
    names = {path: [each.get("name") for each in door.get(path).json()] for path in LISTS}
    assert {"Euler", "DPM++ 2M"} <= set(names["samplers"])
    assert {"Lanczos", "Toybox 2x"} <= set(names["upscalers"])
    assert "Latent" in names["latent-upscale-modes"]
    for schedule in door.get("schedulers").json():
        assert {"name", "label"} <= schedule.keys()
    models = door.get("sd-models").json()
    assert TINY in [each["model_name"] for each in models]
    assert all(str(studio.home) not in str(each) for each in models), "names, never paths"
    for path in EMPTY:
        assert door.get(path).json() == []
    assert door.get("embeddings").json() == {"loaded": {}, "skipped": {}}
    root = str(door.base_url).replace("sdapi/v1/", "controlnet")
    assert "tiny-net" in door.get(f"{root}/model_list").json()["model_list"]
    assert "canny" in door.get(f"{root}/module_list").json()["module_list"]


def test_every_listed_model_can_be_chosen_by_its_title_and_name(door):
    for model in door.get("sd-models").json():
        for name in (model["title"], model["model_name"], f"{model['title']} [0123456789]"):
            door.post("options", json={"sd_model_checkpoint": name}).raise_for_status()
            assert door.get("options").json()["sd_model_checkpoint"] == model["title"]


def test_the_options_may_be_sent_back_whole(door):
    options = door.get("options").json()
    assert options["sd_model_checkpoint"] == TINY
    answer = door.post("options", json=options | {"CLIP_stop_at_last_layers": 2, "foo": {}})
    assert (answer.status_code, answer.json()) == (200, None)
    assert door.get("options").json() == options | {"CLIP_stop_at_last_layers": 2}
    door.post("options", json=options)


@pytest.mark.parametrize(
    ("who", "too", "others"), [("ada", "ada too", "one"), ("one", "one too", "other")]
)
def test_a_switch_of_the_model_is_one_s_own(people, who, too, others):
    def model(name: str) -> str:
        return people[name].get("options").json()["sd_model_checkpoint"]

    before = model(others)
    people[who].post("options", json={"sd_model_checkpoint": TINY}).raise_for_status()
    assert (model(who), model(too)) == (TINY, TINY)
    assert model(others) == before != TINY


def test_a_model_of_one_body_is_that_body_s_alone(people):
    ada = people["ada"]
    ada.post("options", json={"sd_model_checkpoint": "starter"}).raise_for_status()
    chosen = ada.get("options").json()["sd_model_checkpoint"]
    body = {"prompt": "a mug", "steps": 1, "width": 64, "height": 64}
    answer = ada.post("txt2img", json=body | {"override_settings": {"sd_model_checkpoint": TINY}})
    assert f"Model: {TINY}" in answer.json()["info"]
    assert ada.get("options").json()["sd_model_checkpoint"] == chosen


def test_strangers_and_wrong_keys_are_told_how_to_come_in(people):
    for name in ("nobody", "wrong key", "wrong password"):
        answer = people[name].get("options")
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic")
        assert set(answer.json()) == {"error", "detail", "body", "errors"}
