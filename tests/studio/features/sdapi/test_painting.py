"""Pictures by A1111's protocol on a live server, painted by the tiny model."""

from __future__ import annotations

import base64
import io
import json
import threading
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
from PIL import Image

from studio.core.gallery.metadata import read_settings
from tests.patience import PATIENCE, wait_until
from tests.studio.live import TINY, waiting_client

QUICK = {"prompt": "a red mug", "steps": 2, "seed": 5, "width": 64, "height": 64}
LONG = {"prompt": "a long mug", "steps": 150, "n_iter": 16, "width": 512, "height": 512}


def noise(size: tuple[int, int] = (64, 72), seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8))


def png(image: Image.Image) -> str:
    image.save(out := io.BytesIO(), "PNG")
    return base64.b64encode(out.getvalue()).decode()


def picture_of(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


def ask(door: httpx.Client, path: str, **body) -> dict:
    answer = door.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_pictures_come_with_what_they_were_painted_by(door, studio):
    answer = ask(door, "txt2img", **QUICK, n_iter=2, negative_prompt="blue", sampler_name="Euler")
    pictures = [picture_of(each) for each in answer["images"]]
    assert [each.size for each in pictures] == [(64, 64)] * 2
    info = json.loads(answer["info"])
    assert info["all_seeds"] == [5, 6]
    assert (info["sampler_name"], info["sd_model_name"]) == ("Euler", TINY)
    assert (info["width"], info["steps"], info["notes"]) == (64, 2, [])
    assert [each.info["parameters"] for each in pictures] == info["infotexts"]
    assert "Negative prompt: blue" in info["infotexts"][0]
    assert answer["parameters"]["prompt"] == "a red mug"
    kept = studio.gallery.of_job("local", info["id_task"])
    assert [studio.gallery.path("local", each.id).read_bytes() for each in kept] == [
        base64.b64decode(each) for each in answer["images"]
    ]


def test_a_picture_is_the_one_that_the_page_paints(door, studio):
    shown = picture_of(ask(door, "txt2img", **QUICK)["images"][0])
    fields = QUICK | {"model": TINY}
    job = studio.submissions.submit(studio.accounts.owner_of_key("local"), "text_to_image", fields)
    wait_until(lambda: studio.jobs.get("local", job.id).ended)
    (painted,) = studio.gallery.of_job("local", job.id)
    assert studio.gallery.open("local", painted.id).tobytes() == shown.tobytes()


def test_pictures_may_be_left_out_of_the_answer(door):
    answer = ask(door, "txt2img", **QUICK, send_images=False)
    assert answer["images"] == []
    assert json.loads(answer["info"])["all_seeds"] == [5]


def test_only_what_is_white_in_the_mask_changes(door):
    photo, mask = noise(), Image.new("L", (64, 72))
    mask.paste(255, (0, 0, 32, 72))
    answer = ask(
        door,
        "img2img",
        **QUICK | {"width": None, "height": None},
        init_images=[f"data:image/png;base64,{png(photo)}"],
        mask=png(mask),
        mask_blur=0,
    )
    before, after = np.asarray(photo), np.asarray(picture_of(answer["images"][0]).convert("RGB"))
    assert np.array_equal(after[:, 32:], before[:, 32:])
    assert not np.array_equal(after[:, :32], before[:, :32])
    assert answer["parameters"]["init_images"] is None
    assert json.loads(answer["info"])["denoising_strength"] == 0.75
    inverted = ask(door, "img2img", **QUICK | {"width": None, "height": None},
                   init_images=[png(photo)], mask=png(mask), mask_blur=0,
                   inpainting_mask_invert=1, include_init_images=True)  # fmt: skip
    after = np.asarray(picture_of(inverted["images"][0]).convert("RGB"))
    assert np.array_equal(after[:, :32], before[:, :32])
    assert inverted["parameters"]["init_images"] == [png(photo)]


def test_strength_zero_gives_the_picture_back(door):
    photo = noise(seed=3)
    answer = ask(door, "img2img", prompt="", steps=2, init_images=[png(photo)],
                 denoising_strength=0)  # fmt: skip
    assert picture_of(answer["images"][0]).convert("RGB").tobytes() == photo.tobytes()


def test_a_hires_pass_makes_the_picture_larger(door):
    answer = ask(door, "txt2img", **QUICK, enable_hr=True, hr_scale=2, hr_upscaler="Latent")
    assert picture_of(answer["images"][0]).size == (128, 128)
    assert json.loads(answer["info"])["denoising_strength"] == 0.7


def test_units_steer(door, studio):
    unit = {
        "image": png(noise()),
        "module": "canny",
        "model": "tiny-net [0123abcd]",
        "weight": "1.5",
        "threshold_a": 50,
        "threshold_b": 150,
        "guidance_end": 0.5,
        "control_mode": "ControlNet is more important",
        "resize_mode": 2,
        "pixel_perfect": True,
    }
    scripts = {"ControlNet": {"args": [unit, {"enabled": False, "model": "nobody"}]}}
    plain = ask(door, "txt2img", **QUICK)
    answer = ask(door, "txt2img", **QUICK, alwayson_scripts=scripts)
    assert answer["images"] != plain["images"]
    job = studio.jobs.get("local", json.loads(answer["info"])["id_task"])
    (made,) = job.request["units"]
    assert made["parameters"]["low"], made["parameters"]["high"] == (50, 150)
    assert (made["weight"], made["start"], made["end"]) == (1.5, 0.0, 0.5)
    assert (made["control_mode"], made["resize_mode"]) == ("control", "pad")
    # Without a picture of its own it follows the one that is changed.
    unit = {name: value for name, value in unit.items() if name != "image"}
    answer = ask(door, "img2img", **QUICK, init_images=[png(noise())],
                 alwayson_scripts={"controlnet": {"args": [unit]}})  # fmt: skip
    request = studio.jobs.get("local", json.loads(answer["info"])["id_task"]).request
    assert request["units"][0]["picture"] == request["from_picture"]["picture"]


def test_other_scripts_are_left_out_and_said(door):
    scripts = {"ADetailer": {"args": [True]}, "Refiner": {"args": [False]}, "x": {}}
    info = json.loads(ask(door, "txt2img", **QUICK, alwayson_scripts=scripts)["info"])
    assert info["notes"] == ["These scripts were left out: ADetailer."]


def test_pictures_are_made_larger(door):
    photo = noise()
    made = ask(door, "extra-single-image", image=png(photo), upscaling_resize=2,
               upscaler_1="Lanczos")  # fmt: skip
    expected = photo.resize((128, 144), Image.Resampling.LANCZOS)
    found = np.asarray(picture_of(made["image"]).convert("RGB"), int)
    assert np.abs(found - np.asarray(expected, int)).max() <= 1
    sized = {"resize_mode": 1, "upscaling_resize_w": 100, "upscaling_resize_h": 100}
    several = [{"data": png(noise((64, 80), seed)), "name": "a.png"} for seed in (0, 1)]
    made = ask(door, "extra-batch-images", **sized, upscaler_1="Nearest", imageList=several)
    for seed, each in enumerate(made["images"]):
        whole = noise((64, 80), seed).resize((100, 125), Image.Resampling.NEAREST)
        assert picture_of(each).convert("RGB").tobytes() == whole.crop((0, 12, 100, 112)).tobytes()
    small = {"resize_mode": 1, "upscaling_resize_w": 128, "upscaling_resize_h": 999}
    made = ask(door, "extra-single-image", **small, upscaling_crop=False, upscaler_1="Nearest",
               image=png(photo))  # fmt: skip
    assert picture_of(made["image"]).size == (128, 144), "as large as fits"


def test_what_a_file_says_is_read(door):
    answer = ask(door, "txt2img", **QUICK)
    info = ask(door, "png-info", image=f"data:image/png;base64,{answer['images'][0]}")
    assert info["info"] == json.loads(answer["info"])["infotexts"][0]
    assert info["parameters"]["Seed"] == "5"
    assert info["parameters"] == read_settings(base64.b64decode(answer["images"][0]))
    assert ask(door, "png-info", image=png(noise()))["info"] == ""


@contextmanager
def waiting_program(door: httpx.Client, body: dict):
    """While a program waits for a job; ends with its answer in the list."""
    answers: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: answers.append(door.post("txt2img", json=body)))
    thread.start()
    yield answers
    thread.join(PATIENCE)


def test_progress_and_interrupt_are_of_one_s_own_job(door, studio):
    idle = door.get("progress").json()
    assert (idle["progress"], idle["state"]["job_count"], idle["current_image"]) == (0, 0, None)
    fields = {"prompt": "on the page", "model": TINY, "steps": 150, "width": 512, "height": 512}
    with waiting_program(door, LONG) as answers:
        told = wait_until(
            lambda: (now := door.get("progress").json())["state"]["sampling_step"] > 0 and now
        )
        assert 0 < told["progress"] < 1
        assert told["state"]["job_count"] == 1
        assert told["state"]["sampling_steps"] >= 150
        job_id = told["current_task"].removeprefix("task(").removesuffix(")")
        shown = wait_until(lambda: door.get("progress").json()["current_image"])
        assert max(picture_of(shown).size) > 1
        hidden = door.get("progress", params={"skip_current_image": True}).json()
        assert hidden["current_image"] is None
        owner = studio.accounts.owner_of_key("local")
        page = studio.submissions.submit(owner, "text_to_image", fields)
        assert door.post("interrupt").json() == {}
    (answer,) = answers
    assert answer.status_code == 200
    info = json.loads(answer.json()["info"])
    assert (info["id_task"], info["interrupted"]) == (job_id, True)
    assert answer.json()["images"] == []
    assert not studio.jobs.get("local", page.id).ended, "what the page paints goes on"
    assert door.get("progress").json()["state"]["job_count"] == 0
    studio.jobs.cancel("local", page.id)
    wait_until(lambda: studio.jobs.get("local", page.id).ended)


def test_who_hangs_up_paints_no_more(door, studio):
    def list_unfinished() -> list:
        return [each for each in studio.jobs.list("local") if not each.ended]

    wait_until(lambda: not list_unfinished())
    with waiting_client(door, "txt2img", LONG):
        (job,) = wait_until(list_unfinished)
    wait_until(lambda: studio.jobs.get("local", job.id).state == "cancelled")


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("txt2img", {"sampler_name": "nope"}, 404, "no sampler called nope"),
        ("txt2img", {"n_iter": 99}, 422, "n_iter is 99"),
        ("txt2img", {"steps": "many"}, 422, "steps"),
        ("txt2img", {"steps": 1e999}, 422, "steps"),
        ("txt2img", {"width": 20_000}, 422, "20000"),
        ("txt2img", {"cfg_scale": -1}, 422, "cfg_scale is -1"),
        ("txt2img", {"script_name": "x"}, 422, "no script called x"),
        ("txt2img", {"override_settings": {"sd_model_checkpoint": "no"}}, 404, "no"),
        ("txt2img", {"alwayson_scripts": {"controlnet": {"args": 5}}}, 422, "list of units"),
        ("txt2img", {"alwayson_scripts": {"controlnet": {"args": [{"model": "tiny-net"}]}}}, 422,
         "controlnet.args.image is missing"),
        ("txt2img", {"alwayson_scripts": {"controlnet": {"args": [{"model": "x"}]}}}, 404,
         "no control model called x"),
        ("txt2img", {"enable_hr": True, "hr_upscaler": "nope"}, 404, "nope"),
        ("txt2img", {"enable_hr": True, "hr_scale": 9}, 422, "at most 4"),
        ("img2img", {}, 422, "init_images is missing"),
        ("img2img", {"init_images": [7]}, 422, "base64"),
        ("img2img", {"init_images": ["http://127.0.0.1:1/x.png"]}, 422, "not fetched"),
        ("img2img", {"init_images": ["aGVsbG8="]}, 422, "PNG"),
        ("img2img", {"init_images": [png(noise())], "mask": "file:///etc/passwd"}, 422, "mask"),
        ("img2img", {"init_images": [png(noise())], "denoising_strength": 3}, 422, "at most 1"),
        ("img2img", {"init_images": [png(noise())], "resize_mode": 9}, 422, "resize_mode is 9"),
        ("extra-single-image", {"image": png(noise()), "upscaler_1": "nope"}, 404, "nope"),
        ("extra-single-image", {}, 422, "image is missing"),
        ("extra-batch-images", {"imageList": {}}, 422, "imageList"),
        ("png-info", {"image": "x y z!"}, 422, "base64"),
        ("png-info", {}, 422, "base64"),
        ("options", {"sd_model_checkpoint": "nobody"}, 404, "nobody"),
        ("interrogate", {}, 404, "describes pictures"),
        ("nothing", {}, 404, "/sdapi/v1/nothing"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_the_protocol_s_shape(door, studio, path, body, status, words):
    body = {"prompt": "a mug", **body}
    # As clients write it, of whom some send numbers that JSON has not.
    answer = door.post(path, content=json.dumps(body))
    assert answer.status_code == status, answer.text
    error = answer.json()
    assert set(error) == {"error", "detail", "body", "errors"}
    assert words in error["errors"]
    assert "Traceback" not in answer.text
    assert door.get("progress").json()["state"]["job_count"] == 0


def test_programs_find_the_words_that_they_look_for(door):
    answer = door.post("txt2img", json={"sampler_name": "nope"})
    assert (answer.status_code, answer.json()["detail"]) == (404, "Sampler not found")
    answer = door.post("txt2img", content=b"{", headers={"accept-language": "zh"})
    assert answer.status_code == 422
    assert "JSON" in answer.json()["errors"]
