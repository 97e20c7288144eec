"""Pictures of the tiny models with LoRAs, and what is compared of them."""

from __future__ import annotations

import threading

import numpy as np
import torch
from PIL import Image

from pipelines.core.errors import validate
from pipelines.core.events import Picture
from pipelines.diffusion import text_to_image
from pipelines.diffusion.loading import DiffusionModel
from pipelines.diffusion.requests import TextToImageRequest
from tests.pipelines.diffusion.lora.conftest import BASE


def request_of(**settings) -> TextToImageRequest:
    base = {"prompt": "a red mug", "model": BASE, "steps": 3, "seed": 7, "sampler": "Euler"}
    return validate(TextToImageRequest, base | settings)


def paint(cache, engine=text_to_image, **settings) -> list:
    request = settings.pop("request", None) or request_of(**settings)
    return list(engine.run(request, cache, threading.Event()))


def pictures(events) -> list[Image.Image]:
    return [event.image for event in events if isinstance(event, Picture)]


def difference(a, b) -> int:
    return int(np.abs(np.asarray(a, int) - np.asarray(b, int)).max())


def difference_of(a, b) -> float:
    return float((a - b).abs().max().detach())


def psnr(a, b) -> float:
    error = ((np.asarray(a, float) - np.asarray(b, float)) ** 2).mean()
    return float("inf") if error == 0 else 10 * np.log10(255**2 / error)


def bits_of(model: DiffusionModel) -> dict[str, torch.Tensor]:
    return {
        f"{part}.{name}": tensor.clone()
        for part, module in model.pipe.components.items()
        if isinstance(module, torch.nn.Module)
        for name, tensor in module.state_dict().items()
    }


class Unchanged:
    """``with Unchanged(cache):`` checks that a model is afterwards what it was before."""

    def __init__(self, cache, name=BASE) -> None:
        self.cache, self.name = cache, name

    def __enter__(self):
        with self.cache.lease(self.name) as model:
            self.bits = bits_of(model)
            self.tokenizers = [getattr(model.pipe, name, None)
                               for name in ("tokenizer", "tokenizer_2")]  # fmt: skip
            self.parameters = {id(p) for p in model.pipe.text_encoder.parameters()}
        return self

    def __exit__(self, *error) -> None:
        with self.cache.lease(self.name) as model:
            now = bits_of(model)
            assert now.keys() == self.bits.keys()
            for name, tensor in self.bits.items():
                assert torch.equal(now[name], tensor), name
            assert model.learned == {}
            tokenizers = [getattr(model.pipe, name, None) for name in ("tokenizer", "tokenizer_2")]
            assert all(a is b for a, b in zip(tokenizers, self.tokenizers, strict=True))
            assert {id(p) for p in model.pipe.text_encoder.parameters()} == self.parameters
            with model.hold(alone=True):  # nobody holds it any more
                pass
