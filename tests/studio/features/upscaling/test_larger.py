"""What "Make it larger" asks for, what is refused, and the list of upscalers for programs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from fastapi import FastAPI
from fastapi.testclient import TestClient
from safetensors.torch import save_file

from pipelines.core.errors import BadRequest, NotFound, validate
from pipelines.diffusion.hires.requests import LATENT_MODES
from pipelines.diffusion.requests import ChangeRequest, TextToImageRequest
from pipelines.upscaling.catalog import Upscalers
from pipelines.upscaling.requests import UpscaleRequest
from studio.api.dependencies import current_owner
from studio.core.accounts.accounts import LOCAL_OWNER
from studio.features.upscaling import api
from studio.features.upscaling.feature import check_upscaling
from studio.features.upscaling.tab import enlargement_fields

PICTURE = "0" * 32


def larger(request: dict, **changes) -> ChangeRequest:
    asked = {"prompt": "a mug", "model": "starter", **changes}
    fields = enlargement_fields(request, PICTURE, (130, 64), {"scale": 2, "strength": 0.4}, **asked)
    return validate(ChangeRequest, fields)


def test_painting_on_keeps_the_picture_in_the_first_pass_and_its_settings_in_the_second():
    painted = TextToImageRequest(
        prompt="a mug", model="starter", negative_prompt="fog", seed=5, sampler="Heun",
        batch_size=4, loras=({"name": "clay"},), hires={"scale": 3}, width=512, height=512,
    )  # fmt: skip
    asked = larger(painted.model_dump(mode="json"))
    assert (asked.from_picture.picture, asked.from_picture.strength) == (PICTURE, 0)
    assert (asked.width, asked.height) == (128, 64), "the nearest that can be painted"
    assert (asked.hires.scale, asked.hires.strength) == (2, 0.4)
    assert (asked.seed, asked.sampler, asked.loras[0].name) == (5, "Heun", "clay")
    assert (asked.negative_prompt, asked.batch_size) == ("fog", 1)
    coarse = enlargement_fields(
        {}, PICTURE, (130, 72), {"scale": 2}, "a mug", "starter-256", step=16
    )
    assert (coarse["width"], coarse["height"]) == (128, 64), "as it takes 16 pixels at a time"
    other = larger(painted.model_dump(mode="json"), model="sd15")
    assert (other.seed, other.sampler, other.loras) == (5, None, ()), "another model has its own"
    unknown = larger({"picture": PICTURE, "upscaler": "Lanczos"}, prompt="a dog")
    assert (unknown.prompt, unknown.seed) == ("a dog", -1)


@pytest.fixture
def studio(tmp_path):
    folder = tmp_path / "upscalers"
    folder.mkdir()
    save_file({"unet": torch.zeros(1)}, folder / "lora.safetensors")
    sizes = SimpleNamespace(width=2000, height=1500)
    return SimpleNamespace(
        upscalers=Upscalers(tmp_path, tmp_path / "none"),
        inputs=SimpleNamespace(get=lambda owner, id: sizes),
    )


def test_what_cannot_be_made_is_refused_before_it_is_queued(studio):
    def check(**fields):
        return check_upscaling(studio, LOCAL_OWNER, UpscaleRequest(picture=PICTURE, **fields))

    assert check(upscaler="lanczos").upscaler == "Lanczos"
    with pytest.raises(NotFound, match="no upscaler called ESRGAN"):
        check(upscaler="ESRGAN")
    with pytest.raises(BadRequest, match=r"times 2000×1500 pixels are 27\.0 megapixels"):
        check(scale=3)


def test_programs_are_told_of_upscalers_and_the_host_why_files_are_of_no_use(studio):
    app = FastAPI()
    app.state.studio = studio
    app.include_router(api.router)
    host = [True]
    app.dependency_overrides[current_owner] = lambda: SimpleNamespace(is_host=host[0])
    client = TestClient(app)
    said = client.get("/upscalers").json()
    assert {each["name"]: each["network"] for each in said["upscalers"]} == {
        "Lanczos": False,
        "Nearest": False,
        "None": False,
    }
    assert said["latent"] == list(LATENT_MODES)
    assert said["refused"][0].startswith("lora.safetensors is no upscaler")
    host[0] = False
    assert client.get("/upscalers").json()["refused"] == []
