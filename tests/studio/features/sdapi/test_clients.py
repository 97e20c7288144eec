"""Bodies as programs send them, written from what each does, and the package webuiapi itself."""

from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np
import pytest
import webuiapi
from PIL import Image

from tests.patience import wait_until
from tests.studio.features.sdapi.test_painting import LONG, ask, noise, picture_of, png
from tests.studio.live import TINY

SMALL = {"width": 64, "height": 64, "steps": 2}
WHITE = png(Image.new("L", (64, 72), 255))

# Program → route, what it sends besides a size and steps, and what must be said of the result.
SENT: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "SillyTavern": (
        "txt2img",
        {
            "url": "http://127.0.0.1:7860",
            "auth": "me:secret",
            "prompt": "a red mug",
            "negative_prompt": "blue",
            "sampler_name": "DPM++ 2M",
            "scheduler": "Karras",
            "cfg_scale": 7,
            "restore_faces": False,
            "enable_hr": False,
            "hr_upscaler": "Latent",
            "hr_scale": 2,
            "hr_additional_modules": [],
            "denoising_strength": 0.7,
            "hr_second_pass_steps": 0,
            "override_settings": {
                "CLIP_stop_at_last_layers": 1,
                "sd_vae": "",
                "forge_additional_modules": [],
            },
            "override_settings_restore_afterwards": True,
            "clip_skip": 1,
            "save_images": True,
            "send_images": True,
            "do_not_save_grid": False,
            "do_not_save_samples": False,
        },
        {"sampler_name": "DPM++ 2M", "cfg_scale": 7.0, "clip_skip": 1},
    ),
    "Open WebUI": (
        "txt2img",
        {"prompt": "a red mug", "batch_size": 2, "negative_prompt": "blue", "CFG": "whatever"},
        {"negative_prompt": "blue"},
    ),
    "Photoshop": (
        "img2img",
        {
            "prompt": "a red mug",
            "sampler_index": "Euler a",
            "seed": "77",
            "cfg_scale": 7,
            "init_images": [png(noise())],
            "mask": WHITE,
            "denoising_strength": 0.6,
            "inpaint_full_res": True,
            "inpaint_full_res_padding": 32,
            "inpainting_fill": 1,
            "inpainting_mask_invert": False,
            "mask_blur": 0,
            "restore_faces": False,
            "tiling": False,
            "clip_skip": 1,
            "subseed": -1,
            "subseed_strength": 0,
            "use_prompt_shortcut": True,
            "script_name": "",
            "script_args": [],
        },
        {"seed": 77, "denoising_strength": 0.6, "sampler_name": "Euler a"},
    ),
    "AI-Render": (
        "img2img",
        {
            "init_images": ["data:image/png;base64," + png(noise())],
            "prompt": "a red mug",
            "negative_prompt": "",
            "denoising_strength": 0.5,
            "seed": 3,
            "cfg_scale": 7.0,
            "sampler_index": "DPM++ 2M Karras",
            "resize_mode": 0,
            "alwayson_scripts": {
                "controlnet": {"args": [{"weight": 0.9, "module": "canny", "model": "tiny-net"}]}
            },
        },
        {"sampler_name": "DPM++ 2M", "denoising_strength": 0.5, "seed": 3},
    ),
    "stable-gimpfusion": (
        "img2img",
        {
            "prompt": "a red mug",
            "sampler_index": "Euler a",
            "seed": -1,
            "batch_size": 1,
            "cfg_scale": 7.5,
            "init_images": [png(noise())],
            "mask": WHITE,
            "inpainting_fill": 1,
            "inpaint_full_res": True,
            "inpaint_full_res_padding": 10,
            "inpainting_mask_invert": 0,
            "resize_mode": 0,
            "denoising_strength": 0.8,
        },
        {"cfg_scale": 7.5},
    ),
    "aiyabot": (
        "txt2img",
        {
            "prompt": "a red mug",
            "negative_prompt": "",
            "cfg_scale": "7.0",
            "sampler_name": "Euler a",
            "scheduler": None,
            "seed": 5,
            "seed_resize_from_h": -1,
            "seed_resize_from_w": -1,
            "denoising_strength": None,
            "tiling": False,
            "n_iter": 1,
            "batch_size": 1,
            "styles": [""],
            "enable_hr": False,
            "hr_scale": 1,
            "hr_second_pass_steps": 0.0,
            "override_settings": {
                "CLIP_stop_at_last_layers": 1,
                "face_restoration_model": "CodeFormer",
            },
        },
        {"seed": 5, "denoising_strength": None},
    ),
    "Kobold Lite": (
        "txt2img",
        {
            "prompt": "a red mug",
            "negative_prompt": "",
            "sampler_name": "Euler a",
            "cfg_scale": 7,
            "seed": -1,
            "n_iter": 1,
            "eta": 0,
            "clip_skip": -1,
            "override_settings": {"sd_model_checkpoint": TINY},
            "do_not_save_samples": True,
            "do_not_save_grid": True,
        },
        {"sd_model_name": TINY},
    ),
}


@pytest.mark.parametrize("program", SENT)
def test_bodies_of_programs_are_followed(door, program):
    path, body, expected = SENT[program]
    answer = ask(door, path, **SMALL, **body)
    info = json.loads(answer["info"])
    assert {name: info[name] for name in expected} == expected
    assert len(answer["images"]) == body.get("batch_size", 1)
    assert picture_of(answer["images"][0]).size in {(64, 64), (64, 72)}


def test_who_waits_until_the_model_is_loaded_is_let_on(door):
    # SillyTavern, after it has switched the model.
    door.post("options", json={"sd_model_checkpoint": TINY}).raise_for_status()
    told = door.get("progress").json()
    assert (told["progress"], told["state"]["job_count"]) == (0.0, 0)


@pytest.fixture
def client(door) -> webuiapi.WebUIApi:
    address = str(door.base_url).rstrip("/")
    return webuiapi.WebUIApi(baseurl=address, sampler="Euler", steps=2)


@pytest.mark.deep
def test_webuiapi_paints_changes_and_steers(client):
    size = {"width": 64, "height": 64}
    made = client.txt2img(prompt="a red mug", seed=4, cfg_scale=5, **size)
    assert (made.image.size, made.info["seed"], made.info["cfg_scale"]) == ((64, 64), 4, 5.0)
    assert client.txt2img(prompt="a red mug", seed=4, cfg_scale=5, **size).image == made.image
    larger = client.txt2img(prompt="a mug", enable_hr=True, hr_scale=2, **size,
                            hr_upscaler=webuiapi.HiResUpscaler.Latent)  # fmt: skip
    assert larger.image.size == (128, 128)
    photo, mask = noise(), Image.new("RGB", (64, 72))
    mask.paste((255, 255, 255), (0, 0, 32, 72))
    changed = client.img2img(images=[photo], prompt="a mug", mask_image=mask, mask_blur=0,
                             width=64, height=72, inpainting_fill=1, seed=4)  # fmt: skip
    before, after = np.asarray(photo), np.asarray(changed.image.convert("RGB"))
    assert np.array_equal(before[:, 32:], after[:, 32:])
    assert not np.array_equal(before[:, :32], after[:, :32])
    unit = webuiapi.ControlNetUnit(image=photo, module="canny", model="tiny-net")
    steered = client.txt2img(prompt="a red mug", seed=4, cfg_scale=5, controlnet_units=[unit],
                             **size)  # fmt: skip
    assert "ControlNet 0" in steered.info["infotexts"][0]
    assert steered.image != made.image
    assert "tiny-net" in client.controlnet_model_list()
    assert "canny" in client.controlnet_module_list()


@pytest.mark.deep
def test_webuiapi_enlarges_and_reads_what_a_file_says(client):
    photo = noise()
    made = client.extra_single_image(image=photo, upscaler_1="Lanczos", upscaling_resize=2)
    assert made.image.size == (128, 144)
    several = client.extra_batch_images(images=[photo, photo], upscaler_1="Nearest")
    assert [each.size for each in several.images] == [(128, 144)] * 2
    painted = client.txt2img(prompt="a red mug", seed=9, width=64, height=64)
    assert "Seed: 9" in client.png_info(painted.image).info


@pytest.mark.deep
def test_webuiapi_chooses_waits_and_interrupts(client, door):
    assert client.util_get_current_model() == TINY
    client.util_set_model("starter 256")
    assert "256" in client.util_get_current_model()
    client.util_set_model(TINY)
    assert "Euler" in client.util_get_sampler_names()
    assert client.get_embeddings()["loaded"] == {}
    for ask_for in (client.get_sd_vae, client.get_face_restorers, client.get_hypernetworks):
        assert ask_for() == []
    made: list[Any] = []
    thread = threading.Thread(target=lambda: made.append(client.txt2img(**LONG)))
    thread.start()
    wait_until(lambda: client.get_progress()["state"]["sampling_step"] > 0)
    client.interrupt()
    thread.join()
    assert made[0].info["interrupted"]
    client.util_wait_for_ready(check_interval=0.1)
