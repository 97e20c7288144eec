"""The library over HTTP: everybody's own, brought in, used by name, handed out, merged."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator

import pytest
import torch
from PIL import Image
from safetensors.torch import load, save

from pipelines.diffusion.lora.use import LoraUse
from studio.core.gallery.metadata import (
    format_parameters,
    parameters_of,
    parse_parameters,
    read_settings,
)
from studio.core.gallery.reuse import fields_of
from studio.core.services import Studio
from tests.pipelines.diffusion.lora import files
from tests.studio.live import (
    TINY,
    build_api,
    live_studio,
    options_for,
    paint,
    sentence,
    settings,
    wait_for,
)
from tests.studio.people import ACCOUNTS
from tests.studio.rows import add_job

LORAS, MERGE = "/api/v1/loras", "/api/v1/loras/merge"
PAINT = "/api/v1/jobs/text_to_image"
STRANGE_ID = "0" * 32


@pytest.fixture(scope="module")
def studio(tmp_path_factory, twin_home) -> Iterator[tuple[Studio, str]]:
    home = tmp_path_factory.mktemp("loras")
    with live_studio(options_for(home, twin_home, accounts=ACCOUNTS), build_api) as running:
        yield running


@pytest.fixture(scope="module")
def data(twin_home) -> bytes:
    """A kohya file for the tiny model that changes its pictures a lot."""
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(twin_home / "models" / TINY)
    halves = files.random_halves(pipe, size=0.3)
    return files.kohya(halves, 2.0, {"modelspec.trigger_phrase": "sks"})


def bring(client, name, data) -> dict:
    answer = client.post(LORAS, content=data, params={"name": name})
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture
def clay(ada, data) -> Iterator[dict]:
    """In Ada's library for one test."""
    kept = bring(ada, "clay", data)
    yield kept
    ada.delete(f"{LORAS}/{kept['id']}")


def names(client) -> list[str]:
    return [lora["name"] for lora in client.get(LORAS).json()["loras"]]


def pixels(client, job) -> bytes:
    assert job["state"] == "done", job["error"]
    return Image.open(io.BytesIO(client.get(job["pictures"][0]["url"]).content)).tobytes()


# --- the library ----------------------------------------------------------------------------------


def test_a_file_that_is_brought_in_is_described(ada, clay):
    assert (clay["kind"], clay["style"], clay["rank"], clay["alpha"]) == ("lora", "kohya", 4, 2.0)
    assert clay["triggers"] == ["sks"]
    assert clay["modules"]["unet"] > 10
    assert clay["family_title"] == "U-Net 32"
    assert not clay["shared"]
    assert "owner" not in clay
    assert ada.get(LORAS).json()["loras"] == [clay]
    assert ada.get(f"{LORAS}/{clay['id']}").json() == clay


def test_it_leaves_as_it_came_and_as_diffusers_wants_it(ada, clay, data):
    kohya = ada.get(clay["files"]["kohya"])
    assert kohya.headers["content-disposition"] == "attachment; filename*=UTF-8''clay.safetensors"
    came, left = load(data), load(kohya.content)
    assert left.keys() == came.keys()
    assert all(torch.equal(left[key], came[key]) for key in came)
    theirs = ada.get(clay["files"]["diffusers"])
    assert "pytorch_lora_weights.safetensors" in theirs.headers["content-disposition"]
    assert all(key.startswith(("unet.", "text_encoder.")) for key in load(theirs.content))
    assert ada.get(f"{LORAS}/{clay['id']}/pickle.safetensors").status_code == 422


def test_names_of_any_signs_leave_as_files(ada, data):
    kept = bring(ada, '🐕/<dog>\r\n, "x"', data)
    answer = ada.get(kept["files"]["kohya"])
    assert answer.status_code == 200
    assert "\n" not in answer.headers["content-disposition"]
    ada.delete(f"{LORAS}/{kept['id']}")


def test_renaming_and_deleting(ada, clay, data):
    other = bring(ada, "wood", data)
    changed = ada.patch(f"{LORAS}/{other['id']}", json={"name": "clay"})
    assert (changed.status_code, changed.json()["name"]) == (200, "clay 2")
    assert ada.patch(f"{LORAS}/{other['id']}", json={"name": ""}).status_code == 422
    assert ada.patch(f"{LORAS}/{other['id']}", json={"owner": "bob"}).status_code == 422
    assert ada.delete(f"{LORAS}/{other['id']}").status_code == 204
    assert ada.delete(f"{LORAS}/{other['id']}").status_code == 404
    assert names(ada) == ["clay"]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (b"", "bad is empty"),
        (files.pickle_of({"a": 1}), "is a pickle"),
        (files.safetensors_of({}, length=10**10), "claims a header of 10 GB"),
        (save({"model.x": torch.ones(1)}), "neither a LoRA nor an embedding"),
        (save({"lora_unet_double_blocks_0_x.lora_down.weight": torch.ones(1, 1)}), "for Flux"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(ada, studio, bad, words):
    answer = ada.post(LORAS, content=bad, params={"name": "bad"})
    assert answer.status_code == 422
    assert words in sentence(answer)
    assert names(ada) == []
    assert not list((studio[0].home / "cache").glob("*.safetensors"))


def test_a_name_is_needed(ada, data):
    assert ada.post(LORAS, content=data).status_code == 422
    assert ada.post(LORAS, content=data, params={"name": "x" * 101}).status_code == 422


# --- whose it is ----------------------------------------------------------------------------------


def test_another_s_is_not_there(ada, bob, clay):
    assert names(bob) == []
    url = f"{LORAS}/{clay['id']}"
    answers = [
        bob.get(url),
        bob.get(clay["files"]["kohya"]),
        bob.get(clay["files"]["diffusers"]),
        bob.patch(url, json={"name": "mine"}),
        bob.delete(url),
    ]
    unknown = bob.get(f"{LORAS}/{STRANGE_ID}")
    for answer in answers:
        assert answer.status_code == 404
        assert sentence(answer).replace(clay["id"], "") == sentence(unknown).replace(STRANGE_ID, "")
    assert names(ada) == ["clay"]


@pytest.mark.parametrize("where", ["list", "prompt"])
def test_another_s_is_not_used_be_its_id_known_or_not(bob, clay, where):
    use = {"name": "clay", "id": clay["id"]}
    extra = {"loras": [use]} if where == "list" else {"prompt": "a mug <lora:clay:1>"}
    answer = bob.post(PAINT, json=settings(**extra))
    assert answer.status_code == 404
    assert "no LoRA called clay" in sentence(answer)
    merging = bob.post(MERGE, json={"loras": [use], "name": "mine"})
    assert merging.status_code == 404


def test_an_id_that_a_client_sends_is_never_believed(ada, bob, clay, data):
    mine = bring(bob, "wood", data)
    job = paint(bob, loras=[{"name": "wood", "id": clay["id"]}])
    (use,) = job["request"]["loras"]
    assert (use["name"], use["weight"], use["id"]) == ("wood", 1.0, mine["id"])
    bob.delete(f"{LORAS}/{mine['id']}")


def test_a_guest_s_files_count_for_the_quota(studio, guest, data):
    studio[0].settings.change(guest_quota_mb=1)
    kept = [bring(guest, "clay", data) for _ in range(10**6 // len(data))]
    refused = guest.post(LORAS, content=data, params={"name": "more"})
    assert refused.status_code == 429
    assert "There is room for" in sentence(refused)
    for each in kept:
        guest.delete(f"{LORAS}/{each['id']}")
    studio[0].settings.change(guest_quota_mb=500)


def test_files_in_the_folder_are_everybody_s(studio, ada, guest, host, data):
    folder = studio[0].home / "loras"
    (folder / "shared.safetensors").write_bytes(data)
    (folder / "broken.safetensors").write_bytes(b"PK\x03\x04")
    for client in (ada, guest, host):
        (lora,) = client.get(LORAS).json()["loras"]
        assert (lora["name"], lora["shared"]) == ("shared", True)
        assert client.delete(f"{LORAS}/{lora['id']}").status_code == 403
    assert ada.get(LORAS).json()["refused"] == []
    assert "broken.safetensors is a zip file" in host.get(LORAS).json()["refused"][0]
    job = paint(guest, prompt="a mug <lora:shared:0.5>")
    assert job["result"]["loras"][0]["matched"] > 10
    for path in folder.glob("*.safetensors"):
        path.unlink()


def test_strangers_see_nothing(stranger, clay):
    assert stranger.get(LORAS).status_code == 401
    assert stranger.get(clay["files"]["kohya"]).status_code == 401
    assert stranger.post(LORAS, content=b"x", params={"name": "x"}).status_code == 401


# --- in pictures ----------------------------------------------------------------------------------


def test_a_picture_by_list_and_by_tag_and_again_without(ada, clay):
    plain = pixels(ada, paint(ada))
    listed = paint(ada, loras=[{"name": "clay", "weight": 0.8}])
    tagged = paint(ada, prompt="a red mug <lora:clay:0.8>")
    assert pixels(ada, listed) == pixels(ada, tagged) != plain
    assert pixels(ada, paint(ada)) == plain
    wanted = [{"name": "clay", "weight": 0.8, "text_weight": None, "id": clay["id"]}]
    assert listed["request"]["loras"] == tagged["request"]["loras"] == wanted
    assert tagged["request"]["prompt"] == "a red mug <lora:clay:0.8>"


def test_tags_that_are_no_loras_are_left_out_and_said_beside_the_picture(ada, clay):
    plain = paint(ada)
    job = paint(ada, prompt="a red mug<hypernet:soft:0.5><lyco:CLAY :0:0>")
    assert pixels(ada, job) == pixels(ada, plain)
    said = " ".join(str(note) for note in job["result"]["notes"])
    assert "hypernetworks" in said
    assert "<hypernet:soft:0.5>" in said


def test_the_file_names_all_loras_and_their_hashes(ada, clay):
    job = paint(ada, loras=[{"name": "clay", "weight": 0.8}])
    found = read_settings(ada.get(job["pictures"][0]["url"]).content)
    assert found["prompt"] == "a red mug <lora:clay:0.8>"
    assert found["Lora hashes"] == f"clay: {clay['sha256'][:12]}"
    again = paint(ada, **{"prompt": fields_of(found)["prompt"]})
    assert pixels(ada, again) == pixels(ada, job)


def test_a_style_s_tags_count_too(ada, clay, monkeypatch):
    from pipelines.diffusion.styles import Style

    style = Style("Clay", {"en": "Clay"}, "{prompt} <lora:clay:0.8>")
    for module in ("studio.core.painting.own_loras", "pipelines.diffusion.resolving"):
        monkeypatch.setattr(f"{module}.get_style", lambda name: style)
    job = paint(ada, style="Clay")
    assert job["request"]["loras"][0]["id"] == clay["id"]
    assert job["result"]["loras"][0]["weight"] == 0.8


def test_samplers_are_compared_with_it(ada, clay):
    request = {"base": settings(prompt="a mug <lora:clay:1>"), "samplers": ["Euler"], "steps": [2]}
    job = wait_for(ada, ada.post("/api/v1/jobs/compare_samplers", json=request).json()["id"])
    assert job["request"]["base"]["loras"][0]["id"] == clay["id"]
    assert job["result"]["loras"][0]["matched"] > 10


def test_a_job_that_is_sent_again_uses_the_same(ada, clay):
    job = paint(ada, loras=[{"name": "clay"}])
    again = wait_for(ada, ada.post(f"/api/v1/jobs/{job['id']}/retry").json()["id"])
    assert pixels(ada, again) == pixels(ada, job)
    resent = paint(ada, **{**job["request"]})
    assert pixels(ada, resent) == pixels(ada, job)


def test_what_a_waiting_job_uses_is_not_deleted(ada, studio, clay):
    request = {"loras": [{"id": clay["id"]}]}
    add_job(studio[0].store, "ada", "text_to_image", request, "running", "w", time.time())
    answer = ada.delete(f"{LORAS}/{clay['id']}")
    assert answer.status_code == 422
    assert "waiting or running uses clay" in sentence(answer)
    studio[0].store.write("DELETE FROM jobs WHERE id = 'w'")
    assert ada.delete(f"{LORAS}/{clay['id']}").status_code == 204


def test_bad_tags_are_refused_before_they_are_queued(ada, clay):
    for prompt, words in [
        ("<lora:clya:1>", "Did you mean one of: clay"),
        ("<lora:clay:9>", "must be at most 4"),
        ("<lora:clay:x>", "cannot be read"),
    ]:
        answer = ada.post(PAINT, json=settings(prompt=prompt))
        assert answer.status_code in (404, 422)
        assert words in sentence(answer)


# --- merging and own models -----------------------------------------------------------------------


def merge(client, **request) -> dict:
    answer = client.post(MERGE, json=request)
    assert answer.status_code == 202, answer.text
    job = wait_for(client, answer.json()["job"])
    assert job["state"] == "done", job["error"]
    return client.get(f"{LORAS}/{job['result']['lora']}").json()


def test_two_become_one(ada, bob, clay, data):
    second = bring(ada, "wood", data)
    parts = [{"name": "clay", "weight": 0.3}, {"name": "wood", "weight": 0.5}]
    made = merge(ada, loras=parts, name="both", owner="bob", id=clay["id"])
    assert (made["name"], made["rank"]) == ("both", 8)
    assert made["id"] != clay["id"]
    assert names(bob) == []
    both, one = paint(ada, loras=[{"name": "both"}]), paint(ada, loras=[parts[0] | {"weight": 0.8}])
    difference = [abs(a - b) for a, b in zip(pixels(ada, both), pixels(ada, one), strict=True)]
    assert max(difference) <= 2
    for each in (second, made):
        ada.delete(f"{LORAS}/{each['id']}")


def test_a_model_of_one_s_own_paints_under_its_name_and_for_nobody_else(ada, bob, clay):
    made = merge(ada, loras=[{"name": "clay", "weight": 0.8}], name="clay model", model=TINY)
    assert (made["kind"], made["base"], made["files"]) == ("model", TINY, {})
    job = paint(ada, model="clay model")
    assert job["request"]["model"] == f"own:{made['id']}"
    found = read_settings(ada.get(job["pictures"][0]["url"]).content)
    assert found["Model"] == "clay model"
    expected = pixels(ada, paint(ada, loras=[{"name": "clay", "weight": 0.8}]))
    difference = [abs(a - b) for a, b in zip(pixels(ada, job), expected, strict=True)]
    assert max(difference) <= 2
    for model in ("clay model", f"own:{made['id']}", f"own:{STRANGE_ID}", "own:../../models"):
        answer = bob.post(PAINT, json=settings(model=model))
        assert answer.status_code == 404, model
    wrong = ada.post(PAINT, json=settings(model=f"own:{clay['id']}"))
    assert wrong.status_code == 404
    ada.delete(f"{LORAS}/{made['id']}")


# --- settings inside pictures ---------------------------------------------------------------------


def test_written_prompts_name_what_the_list_holds():
    uses = [LoraUse(name="clay", weight=0.8, id=STRANGE_ID), LoraUse(name="wood")]
    request = settings(prompt="a mug <lora:wood:1>", loras=[use.model_dump() for use in uses])
    hashes = "clay: 0123456789ab, wood: ba9876543210"
    written = parameters_of(request, (64, 64), {"Lora hashes": hashes})
    assert written["prompt"] == "a mug <lora:wood:1> <lora:clay:0.8>"
    text = format_parameters(written)
    assert f'Lora hashes: "{hashes}"' in text
    assert STRANGE_ID not in text
    assert parse_parameters(text)["Lora hashes"] == hashes
